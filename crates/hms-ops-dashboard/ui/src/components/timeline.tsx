// What happened, newest first: alert transitions, and what each runbook did about them.
import { useMemo } from "preact/hooks";
import { clock } from "../clock";
import type { TimelineItem } from "../contract";
import { formatAgo, formatClock } from "../format";
import { useObservable } from "../observable";
import { shortRun, timelineRows, type TimelineRow } from "../timeline-rows";
import { Icon, KIND_ICON, type IconName } from "./icons";
import { Empty } from "./notice";

const TONE_WORD = { bad: "Problem", good: "Good", neutral: "Step" };

export function Timeline({ items, skewMs }: { items: TimelineItem[]; skewMs: number }) {
  const now = useObservable(clock) + skewMs;
  const rows = useMemo(() => timelineRows(items), [items]);
  if (rows.length === 0) {
    return (
      <Empty title="Nothing happened yet">
        <p>Alerts, runbooks and traffic shifts appear here as they happen.</p>
      </Empty>
    );
  }
  return (
    // Scrollable, so it must be reachable by keyboard.
    <ol class="timeline" tabIndex={0} aria-label="Timeline, newest first">
      {rows.map((row) => (
        <Row key={row.item.seq} row={row} now={now} />
      ))}
    </ol>
  );
}

function Row({ row: { item, joinsAbove, joinsBelow }, now }: { row: TimelineRow; now: number }) {
  return (
    <li class="event" data-tone={item.tone} data-run={item.run !== null} data-above={joinsAbove} data-below={joinsBelow}>
      <span class="event-icon">
        <Icon name={iconOf(item)} />
        <span class="sr-only">{TONE_WORD[item.tone]}: </span>
      </span>
      <div class="event-body">
        <p class="event-title">{item.title}</p>
        {item.detail !== "" && <p class="event-detail">{item.detail}</p>}
        {item.run !== null && !joinsBelow && (
          <p class="event-run">
            run <code title={item.run}>{shortRun(item.run)}</code>
          </p>
        )}
      </div>
      <div class="event-when">
        <time dateTime={isoOf(item.at)}>{formatClock(item.at, true)}</time>
        <span class="event-ago">{formatAgo(now - item.at)}</span>
      </div>
    </li>
  );
}

function iconOf(item: TimelineItem): IconName {
  if (item.kind === "transition" && item.tone === "good") return "check";
  if (item.kind === "transition" && item.tone === "neutral") return "eye";
  return KIND_ICON[item.kind] ?? "dot";
}

function isoOf(at: number): string {
  const date = new Date(at);
  return Number.isNaN(date.getTime()) ? "" : date.toISOString();
}
