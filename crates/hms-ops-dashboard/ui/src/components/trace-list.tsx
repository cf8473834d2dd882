// The service's recent traces; a row opens its trace.
import { useEffect, useRef, useState } from "preact/hooks";
import type { TraceList as Traces, TraceSummary } from "../contract";
import { useFetched } from "../fetch-json";
import { formatClock, formatMicros, plural } from "../format";
import { go, place, writePlace } from "../location";
import { Empty, Failed, Skeleton } from "./notice";

const REFRESH_MS = 5000;
const LIMIT = 50;
const ROWS_AT_FIRST = 15;

export function TraceList({ service, paused }: { service: string; paused: boolean }) {
  const section = useRef<HTMLDivElement>(null);
  const [visible, setVisible] = useState(false);
  useEffect(() => {
    const watcher = new IntersectionObserver(([entry]) => setVisible(entry?.isIntersecting ?? false));
    if (section.current !== null) watcher.observe(section.current);
    return () => watcher.disconnect();
  }, []);
  const url = `api/traces?service=${encodeURIComponent(service)}&limit=${LIMIT}`;
  const { data, error, retry } = useFetched<Traces>(url, REFRESH_MS, visible && !paused);
  return (
    <div ref={section} class="traces">
      {data !== null ? (
        <TraceTable list={data} stale={error} />
      ) : error !== null ? (
        <Failed what="Traces cannot be shown" why={error} onRetry={retry} />
      ) : (
        <Skeleton rows={5} />
      )}
    </div>
  );
}

function TraceTable({ list: { traces, dropped }, stale }: { list: Traces; stale: string | null }) {
  const [all, setAll] = useState(false);
  if (traces.length === 0) {
    return (
      <Empty title="No traces yet">
        <p>Mark a function and call it:</p>
        <pre tabIndex={0}>
          <code>{"#[trace]\nasync fn check(member: MemberId) -> Result<Answer, CheckError> { … }"}</code>
        </pre>
      </Empty>
    );
  }
  const shown = all ? traces : traces.slice(0, ROWS_AT_FIRST);
  const longest = Math.max(...traces.map((trace) => trace.duration_us), 1);
  return (
    <>
      {stale !== null && <p class="note">Not refreshed: {stale}</p>}
      {dropped > 0 && <p class="note">{plural(dropped, "span")} dropped: recording outran the buffers</p>}
      <table class="trace-table">
        <thead>
          <tr>
            <th scope="col">Start</th>
            <th scope="col">Root</th>
            <th scope="col" class="number duration">
              Duration
            </th>
            <th scope="col" class="number wide-only">
              Spans
            </th>
            <th scope="col" class="number">
              Errors
            </th>
          </tr>
        </thead>
        <tbody>
          {shown.map((trace) => (
            <TraceRow key={trace.trace_id} trace={trace} longest={longest} />
          ))}
        </tbody>
      </table>
      {traces.length > ROWS_AT_FIRST && (
        <button type="button" class="more" onClick={() => setAll(!all)}>
          {all ? "Show fewer" : `Show ${traces.length - ROWS_AT_FIRST} more`}
        </button>
      )}
    </>
  );
}

function TraceRow({ trace, longest }: { trace: TraceSummary; longest: number }) {
  const open = (event: Event) => {
    event.preventDefault();
    go({ trace: trace.trace_id });
  };
  const clock = formatClock(trace.start_ms, true);
  return (
    <tr onClick={(event) => plainClick(event) && open(event)}>
      <td class="clock">
        {clock.slice(0, 8)}
        <span class="wide-only">{clock.slice(8)}</span>
      </td>
      <td class="root">
        <a href={writePlace({ ...place.get(), trace: trace.trace_id })}>{trace.root.name}</a>
        <span class="root-service">{trace.root.service}</span>
      </td>
      <td class="number duration">
        <span>{formatMicros(trace.duration_us)}</span>
        <span class="duration-bar" data-bad={trace.errors > 0} aria-hidden="true">
          <span style={{ width: `${(trace.duration_us / longest) * 100}%` }} />
        </span>
      </td>
      <td class="number wide-only">{trace.spans}</td>
      <td class="number" data-tone={trace.errors > 0 ? "bad" : "none"}>
        {trace.errors > 0 ? trace.errors : "0"}
      </td>
    </tr>
  );
}

/** A click that means "open here", not "open in a new tab". */
function plainClick(event: MouseEvent): boolean {
  return event.button === 0 && !event.ctrlKey && !event.metaKey && !event.shiftKey && !event.altKey;
}
