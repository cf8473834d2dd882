// One chart: its numbers in words, the drawing, and the same data as a table for screen readers.
import { useEffect, useRef } from "preact/hooks";
import { clock } from "../clock";
import { indexAt, sampleIndexes, type Column } from "../chart-data";
import { formatClock } from "../format";
import { useObservable, type Observable } from "../observable";
import { readPalette } from "../palette";
import { Plot, type PlotEvents, type PlotScene, type PlotSpec } from "../plot";
import { paint } from "../theme";

const TABLE_ROWS = 20;
const TABLE_MS = 10_000; // a table that changes every second cannot be read aloud

export interface ChartProps {
  title: string;
  names: string[];
  format: (value: number | null | undefined) => string;
  spec: PlotSpec;
  scene: PlotScene;
  cursor: Observable<number | null>;
  events: PlotEvents;
}

export function Chart({ title, names, format, spec, scene, cursor, events }: ChartProps) {
  const root = useRef<HTMLDivElement>(null);
  const plot = useRef<Plot | null>(null);
  const painted = useObservable(paint);

  useEffect(() => {
    const element = root.current;
    if (element === null) return;
    const made = new Plot(element, spec, readPalette(), events, scene);
    plot.current = made;
    const sizes = new ResizeObserver(() => made.resize(element.clientWidth, spec.height));
    sizes.observe(element);
    return () => {
      sizes.disconnect();
      made.destroy();
      events.onCursor(null);
      plot.current = null;
    };
  }, [spec, events, painted]);

  useEffect(() => plot.current?.show(scene), [scene]);

  const [times, ...columns] = scene.data;
  return (
    <figure class="chart">
      <figcaption class="chart-head">
        <h2>{title}</h2>
        <Readout names={names} times={times} columns={columns} spec={spec} format={format} cursor={cursor} />
      </figcaption>
      <div class="chart-plot" ref={root} aria-hidden="true" />
      <DataTable title={title} names={names} scene={scene} format={format} />
    </figure>
  );
}

interface ReadoutProps extends Pick<ChartProps, "names" | "format" | "spec" | "cursor"> {
  times: number[];
  columns: Column[];
}

/** The values under the cursor, or else the newest ones. */
function Readout({ names, times, columns, spec, format, cursor }: ReadoutProps) {
  const t = useObservable(cursor);
  const at = t === null ? times.length - 1 : indexAt(times, t);
  return (
    <dl class="readout">
      {names.map((name, n) => (
        <div key={name} class="readout-item">
          <dt data-line={spec.lines[n]!.stroke}>{name}</dt>
          <dd>{format(columns[n]?.[at])}</dd>
        </div>
      ))}
    </dl>
  );
}

function DataTable({ title, names, scene, format }: Pick<ChartProps, "title" | "names" | "scene" | "format">) {
  const slowly = Math.floor(useObservable(clock) / TABLE_MS);
  const kept = useRef<{ slowly: number; rows: string[][] }>({ slowly: -1, rows: [] });
  if (kept.current.slowly !== slowly || kept.current.rows.length === 0) {
    const [times, ...columns] = scene.data;
    const rows = sampleIndexes(times, scene.from, scene.to, TABLE_ROWS).map((at) => [
      formatClock(times[at]!),
      ...columns.map((column) => format(column[at])),
    ]);
    kept.current = { slowly, rows };
  }
  return (
    // A table ignores a width smaller than its cells: the box around it hides it.
    <div class="sr-only">
      <table>
        <caption>
          {title}
          {scene.threshold === null ? "" : `, ${scene.threshold.label}`}
        </caption>
        <thead>
          <tr>
            <th scope="col">Time</th>
            {names.map((name) => (
              <th key={name} scope="col">
                {name}
              </th>
            ))}
          </tr>
        </thead>
        <tbody>
          {kept.current.rows.map((row) => (
            <tr key={row[0]}>
              {row.map((text, n) => (
                <td key={n}>{text}</td>
              ))}
            </tr>
          ))}
        </tbody>
      </table>
    </div>
  );
}
