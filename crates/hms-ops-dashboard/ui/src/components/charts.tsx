// The three charts over time, stacked on one x axis, with one cursor and one zoom.
import { useMemo } from "preact/hooks";
import { fromZero, latencyScale, markNear, marks as toMarks, toColumns, type Mark } from "../chart-data";
import type { Signal } from "../contract";
import { formatClock, formatDuration, formatNumber, formatPercent, formatValue } from "../format";
import type { LiveState } from "../live-state";
import { adjust, place } from "../location";
import { Observable, useObservable } from "../observable";
import type { PlotEvents, PlotScene, PlotSpec } from "../plot";
import { bounds, defaultRange, windows } from "../view-range";
import { Chart } from "./chart";
import { Empty } from "./notice";

const cursor = new Observable<number | null>(null);

const events: PlotEvents = {
  onZoom: (from, to) => adjust({ range: { kind: "fixed", from, to } }),
  onReset: () => adjust({ range: null }),
  onCursor: (t) => cursor.set(t),
};

const RATE: PlotSpec = {
  height: 132,
  lines: [{ stroke: "teal", width: 1.75, fill: "teal-soft" }],
  tick: formatNumber,
  yRange: (max) => fromZero(max, 1),
  labels: false,
};

const ERRORS: PlotSpec = {
  height: 132,
  lines: [{ stroke: "bad", width: 1.75, fill: "bad-soft" }],
  tick: formatPercent,
  yRange: (max) => fromZero(max, 0.01),
  labels: false,
};

export function Charts({ live, signal }: { live: LiveState; signal: Signal }) {
  const { range } = useObservable(place);
  const shown = range ?? defaultRange(live.stepMs);
  const columns = useMemo(() => toColumns(live.points, latencyScale(signal.unit)), [live.points, signal.unit]);
  const marks = useMemo(() => toMarks(live.timeline), [live.timeline]);
  const unit = signal.unit === "s" ? "ms" : signal.unit;
  const formatLatency = useMemo(() => (value: number | null | undefined) => formatValue(value, unit), [unit]);
  const latencySpec = useMemo<PlotSpec>(
    () => ({
      height: 212,
      lines: [
        { stroke: "blue-soft", width: 1.5 },
        { stroke: "blue", width: 2 },
      ],
      band: [2, 1],
      tick: unit === "ms" ? formatLatency : formatNumber,
      yRange: (max) => fromZero(max, 0),
      labels: true,
    }),
    [formatLatency, unit],
  );

  const newest = live.points.at(-1)?.[0] ?? 0;
  const [from, to] = bounds(shown, newest);
  const budget = signal.budget === null ? null : signal.budget * latencyScale(signal.unit);
  const [latency, rate, errors] = useMemo<[PlotScene, PlotScene, PlotScene]>(() => {
    const common = { from, to, marks, threshold: null };
    const threshold = budget === null ? null : { value: budget, label: `budget ${formatLatency(budget)}` };
    return [
      { ...common, data: [columns.t, columns.p50, columns.p95], threshold },
      { ...common, data: [columns.t, columns.rate] },
      { ...common, data: [columns.t, columns.errors] },
    ];
  }, [columns, marks, from, to, budget, formatLatency]);

  if (!live.points.some((point) => point.slice(1).some((value) => value !== null))) return <NoSamples signal={signal} />;
  return (
    <>
      <RangeBar live={live} marks={marks} from={from} to={to} />
      <Chart
        title={unit === "" ? "Value" : "Latency"}
        names={["p50", "p95"]}
        format={formatLatency}
        spec={latencySpec}
        scene={latency}
        cursor={cursor}
        events={events}
      />
      <Chart
        title="Request rate"
        names={["per second"]}
        format={(value) => (value == null ? "–" : `${formatNumber(value)} /s`)}
        spec={RATE}
        scene={rate}
        cursor={cursor}
        events={events}
      />
      <Chart
        title="Errors"
        names={["of requests"]}
        format={formatPercent}
        spec={ERRORS}
        scene={errors}
        cursor={cursor}
        events={events}
      />
      <p class="source">
        From <code>{signal.source}</code>: {signal.explain}
      </p>
    </>
  );
}

/** How much time is shown, and what lies under the cursor. */
function RangeBar({ live, marks, from, to }: { live: LiveState; marks: Mark[]; from: number; to: number }) {
  const { range } = useObservable(place);
  const shown = range ?? defaultRange(live.stepMs);
  return (
    <div class="range-bar">
      <div class="segments" role="group" aria-label="Time shown">
        {windows(live.stepMs).map((ms) => (
          <button
            key={ms}
            type="button"
            aria-pressed={shown.kind === "latest" && shown.ms === ms}
            onClick={() => adjust({ range: { kind: "latest", ms } })}
          >
            {formatDuration(ms)}
          </button>
        ))}
      </div>
      {shown.kind === "fixed" && (
        <button type="button" class="reset-zoom" onClick={events.onReset}>
          Reset zoom
        </button>
      )}
      <UnderCursor marks={marks} from={from} to={to} fixed={shown.kind === "fixed"} />
    </div>
  );
}

function UnderCursor({ marks, from, to, fixed }: { marks: Mark[]; from: number; to: number; fixed: boolean }) {
  const t = useObservable(cursor);
  if (t === null) return <span class="under-cursor">{fixed ? `${formatClock(from)} to ${formatClock(to)}` : ""}</span>;
  const mark = markNear(marks, t, (to - from) / 80);
  return (
    <span class="under-cursor">
      {formatClock(t)}
      {mark !== null && (
        <span class="under-mark" data-tone={mark.tone}>
          {mark.title}
        </span>
      )}
    </span>
  );
}

function NoSamples({ signal }: { signal: Signal }) {
  return (
    <Empty title="No samples yet">
      <p>{signal.kind === "none" ? "Record a metric with a budget, and its charts appear here:" : `Waiting for ${signal.source}.`}</p>
      <pre tabIndex={0}>
        <code>
          {'let latency = Metric::new("eligibility.latency_ms").budget(300.0);\nlatency.record(took.as_secs_f64() * 1000.0);'}
        </code>
      </pre>
    </Empty>
  );
}
