// One trace as a waterfall: who called whom, when, and for how long.
import { useEffect, useMemo, useRef, useState } from "preact/hooks";
import type { Span, Trace } from "../contract";
import { useFetched } from "../fetch-json";
import { formatAttribute, formatClock, formatMicros, plural } from "../format";
import { barOf, waterfall, type SpanRow, type Waterfall } from "../span-rows";
import { Icon } from "./icons";
import { Empty, Failed, Skeleton } from "./notice";

const ROWS_AT_ONCE = 500;
const DEEPEST_INDENT = 12;

export function TraceView({ traceId, onBack }: { traceId: string; onBack: () => void }) {
  const { data, error, retry } = useFetched<Trace>(`api/traces/${encodeURIComponent(traceId)}`, null);
  const heading = useRef<HTMLHeadingElement>(null);
  useEffect(() => {
    window.scrollTo(0, 0);
    heading.current?.focus();
  }, []);
  return (
    <section class="panel trace" aria-labelledby="trace-heading">
      <button type="button" class="back" onClick={onBack}>
        <Icon name="back" /> All charts
      </button>
      <h2 id="trace-heading" ref={heading} tabIndex={-1}>
        Trace <code>{traceId}</code>
      </h2>
      {data !== null ? (
        <Tree trace={data} />
      ) : error !== null ? (
        <Failed what="This trace cannot be shown" why={error} onRetry={retry} />
      ) : (
        <Skeleton rows={8} />
      )}
    </section>
  );
}

function Tree({ trace }: { trace: Trace }) {
  const tree = useMemo(() => waterfall(trace.spans), [trace]);
  const [shown, setShown] = useState(ROWS_AT_ONCE);
  const [selected, setSelected] = useState<Span | null>(null);
  if (tree.rows.length === 0) return <Empty title="This trace has no spans" />;
  const left = tree.rows.length - shown;
  return (
    <>
      <p class="trace-facts">
        <span>{formatClock(tree.startUs / 1000, true)}</span>
        <span>{formatMicros(tree.durationUs)}</span>
        <span>{plural(trace.spans.length, "span")}</span>
        <span data-tone={tree.errors > 0 ? "bad" : "none"}>{plural(tree.errors, "error")}</span>
        {tree.services.slice(0, 8).map((service, n) => (
          <span key={service} class="trace-service">
            <span class="swatch" data-hue={n % 6} aria-hidden="true" />
            {service}
          </span>
        ))}
      </p>
      <div class="ruler" aria-hidden="true">
        <span />
        <span class="ruler-ticks">
          {[0, 0.25, 0.5, 0.75].map((part) => (
            <span key={part}>{formatMicros(tree.durationUs * part)}</span>
          ))}
        </span>
        <span />
      </div>
      <ol class="waterfall" onKeyDown={moveFocus}>
        {tree.rows.slice(0, shown).map((row, at) => (
          <Row
            key={at}
            row={row}
            tree={tree}
            selected={row.kind === "span" && row.span === selected}
            onSelect={(span) => setSelected(span === selected ? null : span)}
          />
        ))}
      </ol>
      {left > 0 && (
        <p class="note">
          {plural(left, "more row")} not shown.{" "}
          <button type="button" onClick={() => setShown(shown + ROWS_AT_ONCE)}>
            Show {Math.min(left, ROWS_AT_ONCE)} more
          </button>
        </p>
      )}
    </>
  );
}

interface RowProps {
  row: SpanRow;
  tree: Waterfall;
  selected: boolean;
  onSelect: (span: Span) => void;
}

function Row({ row, tree, selected, onSelect }: RowProps) {
  if (row.kind === "gap") {
    return (
      <li class="gap">
        <Icon name="unknown" /> {row.text}
      </li>
    );
  }
  const { span, depth } = row;
  const bar = barOf(span, tree);
  return (
    <li>
      <button type="button" class="span-row" aria-expanded={selected} onClick={() => onSelect(span)}>
        <span class="span-name" style={{ paddingInlineStart: `${Math.min(depth, DEEPEST_INDENT) * 14}px` }}>
          <span class="swatch" data-hue={tree.services.indexOf(span.service) % 6} aria-hidden="true" />
          <span class="span-service">{span.service}</span>
          <span class="span-what">{span.name}</span>
          {span.status === "error" && (
            <span class="span-error">
              <Icon name="alarm" /> error
            </span>
          )}
          <span class="sr-only">, depth {depth}</span>
        </span>
        <span class="span-track" aria-hidden="true">
          <span
            class="span-bar"
            data-hue={tree.services.indexOf(span.service) % 6}
            data-bad={span.status === "error"}
            style={{ left: `${bar.left}%`, width: `${bar.width}%` }}
          />
        </span>
        <span class="span-took">{formatMicros(span.duration_us)}</span>
      </button>
      {selected && <Details span={span} startUs={tree.startUs} />}
    </li>
  );
}

function Details({ span, startUs }: { span: Span; startUs: number }) {
  const facts: [string, string][] = [
    ["starts after", formatMicros(span.start_us - startUs)],
    ["kind", span.kind],
    ["status", span.message === "" ? span.status : `${span.status}: ${span.message}`],
    ["span", span.span_id],
    ["parent", span.parent_id ?? "none"],
  ];
  const attributes = Object.entries(span.attributes ?? {}).map(([name, value]) => [name, formatAttribute(value)] as const);
  return (
    <dl class="details">
      {[...facts, ...attributes].map(([name, text], at) => (
        <div key={at} class="detail" data-attribute={at >= facts.length}>
          <dt>{name}</dt>
          <dd>{text}</dd>
        </div>
      ))}
    </dl>
  );
}

/** Up and down arrows walk the rows. */
function moveFocus(event: KeyboardEvent & { currentTarget: HTMLElement }): void {
  if (event.key !== "ArrowDown" && event.key !== "ArrowUp") return;
  const rows = [...event.currentTarget.querySelectorAll<HTMLElement>(".span-row")];
  const next = rows[rows.indexOf(document.activeElement as HTMLElement) + (event.key === "ArrowDown" ? 1 : -1)];
  if (next === undefined) return;
  event.preventDefault();
  next.focus();
}
