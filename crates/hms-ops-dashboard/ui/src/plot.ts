// One uPlot chart the way this page draws: threshold line, marks, synced cursor, zoom handed to the page.
import uPlot from "uplot";
import { roundTimes, type Column, type Mark } from "./chart-data";
import { formatClock } from "./format";
import type { Palette } from "./palette";

export interface Line {
  stroke: keyof Palette;
  width: number;
  fill?: keyof Palette;
}

export interface PlotSpec {
  height: number;
  lines: Line[];
  /** Fills between two lines, given as [upper, lower] series numbers from 1. */
  band?: [number, number];
  tick: (value: number) => string;
  yRange: (dataMax: number | null) => [number, number];
  /** Whether marks carry their short label; one chart of the column is enough. */
  labels: boolean;
}

export interface PlotScene {
  data: [number[], ...Column[]];
  from: number;
  to: number;
  threshold: { value: number; label: string } | null;
  marks: Mark[];
}

export interface PlotEvents {
  onZoom(from: number, to: number): void;
  onReset(): void;
  onCursor(t: number | null): void;
}

const FONT = '11px system-ui, -apple-system, "Segoe UI", Roboto, "Helvetica Neue", sans-serif';
const AXIS_WIDTH = 58; // the same for all, so that their x axes line up
const SYNC_KEY = "hms-ops";
const SECOND = 1000;
const MINUTE = 60 * SECOND;
const HOUR = 60 * MINUTE;
const TICK_STEPS = [
  ...[1, 2, 5, 10, 15, 30].map((n) => n * SECOND),
  ...[1, 2, 5, 10, 15, 30].map((n) => n * MINUTE),
  ...[1, 2, 3, 6, 12, 24].map((n) => n * HOUR),
];
const TONE_RANK = { bad: 0, good: 1, neutral: 2 };

export class Plot {
  #plot: uPlot;
  #scene: PlotScene;

  constructor(root: HTMLElement, spec: PlotSpec, palette: Palette, events: PlotEvents, scene: PlotScene) {
    this.#scene = scene;
    const axis = {
      stroke: palette.muted,
      font: FONT,
      grid: { stroke: palette.grid, width: 1 },
      ticks: { show: false },
    };
    const options: uPlot.Options = {
      width: Math.max(120, root.clientWidth),
      height: spec.height,
      ms: 1,
      padding: [spec.labels ? 18 : 8, 10, 0, 0],
      legend: { show: false },
      scales: {
        x: { time: true, auto: false },
        y: {
          range: (_plot, _min, max) => {
            const [low, high] = spec.yRange(max);
            const limit = this.#scene.threshold?.value ?? 0;
            return [low, Math.max(high, limit * 1.2)];
          },
        },
      },
      axes: [
        {
          ...axis,
          size: 22,
          gap: 5,
          space: 64,
          incrs: TICK_STEPS,
          splits: (_plot, _axis, min, max, step) => roundTimes(min, max, step, zoneOffset(min)),
          values: (plot, splits) => clockTicks(splits).map((text, n) => (fits(plot, splits[n]!) ? text : "")),
        },
        { ...axis, size: AXIS_WIDTH, gap: 6, space: 26, values: (_plot, splits) => splits.map(spec.tick) },
      ],
      series: [
        {},
        ...spec.lines.map((line): uPlot.Series => ({
          stroke: palette[line.stroke],
          width: line.width,
          ...(line.fill === undefined ? {} : { fill: palette[line.fill] }),
          points: { show: false },
        })),
      ],
      ...(spec.band === undefined ? {} : { bands: [{ series: spec.band, fill: palette.band }] }),
      cursor: {
        y: false,
        sync: { key: SYNC_KEY },
        drag: { x: true, y: false, setScale: false },
        points: { size: 7, width: 2 },
        bind: { dblclick: () => () => (events.onReset(), null) },
      },
      hooks: {
        draw: [(plot) => this.#drawOver(plot, spec, palette)],
        setSelect: [
          (plot) => {
            if (plot.select.width < 4) return;
            const from = plot.posToVal(plot.select.left, "x");
            const to = plot.posToVal(plot.select.left + plot.select.width, "x");
            plot.setSelect({ left: 0, top: 0, width: 0, height: 0 }, false);
            events.onZoom(from, to);
          },
        ],
        setCursor: [
          (plot) => {
            const left = plot.cursor.left ?? -1;
            events.onCursor(left < 0 ? null : plot.posToVal(left, "x"));
          },
        ],
      },
    };
    this.#plot = new uPlot(options, scene.data as uPlot.AlignedData, root);
    this.show(scene);
  }

  show(scene: PlotScene): void {
    this.#scene = scene;
    this.#plot.batch(() => {
      this.#plot.setData(scene.data as uPlot.AlignedData, false);
      this.#plot.setScale("x", { min: scene.from, max: scene.to });
    });
  }

  resize(width: number, height: number): void {
    if (width > 0 && width !== this.#plot.width) this.#plot.setSize({ width, height });
  }

  destroy(): void {
    this.#plot.destroy();
  }

  #drawOver(plot: uPlot, spec: PlotSpec, palette: Palette): void {
    const { ctx } = plot;
    const { left, top, width, height } = plot.bbox;
    const dot = devicePixelRatio;
    ctx.save();
    ctx.font = FONT.replace("11px", `${11 * dot}px`);
    ctx.textBaseline = "bottom";

    const tones = { bad: palette.bad, good: palette.good, neutral: palette.accent };
    const taken: [from: number, to: number][] = [];
    // Where labels would overlap, a problem's stays, then good news, then the newest.
    const byWeight = this.#scene.marks.toReversed().sort((a, b) => TONE_RANK[a.tone] - TONE_RANK[b.tone]);
    for (const mark of byWeight) {
      if (mark.at < this.#scene.from || mark.at > this.#scene.to) continue;
      const x = Math.round(plot.valToPos(mark.at, "x", true));
      ctx.strokeStyle = ctx.fillStyle = tones[mark.tone];
      ctx.lineWidth = dot;
      ctx.setLineDash(mark.tone === "bad" ? [] : [2 * dot, 2 * dot]);
      line(ctx, x, top, x, top + height);
      if (!spec.labels) continue;
      const textWidth = ctx.measureText(mark.label).width;
      const textFrom = Math.min(Math.max(left, x - 2 * dot), left + width - textWidth);
      const textTo = textFrom + textWidth;
      if (taken.some(([from, to]) => textFrom < to + 6 * dot && textTo > from - 6 * dot)) continue;
      ctx.textAlign = "left";
      ctx.fillText(mark.label, textFrom, top - 3 * dot);
      taken.push([textFrom, textTo]);
    }

    const { threshold } = this.#scene;
    if (threshold !== null) {
      const y = Math.round(plot.valToPos(threshold.value, "y", true));
      ctx.strokeStyle = ctx.fillStyle = palette.bad;
      ctx.lineWidth = 1.5 * dot;
      ctx.setLineDash([6 * dot, 4 * dot]);
      line(ctx, left, y, left + width, y);
      ctx.textAlign = "left";
      ctx.fillText(threshold.label, left + 6 * dot, y - 3 * dot);
    }
    ctx.restore();
  }
}

function line(ctx: CanvasRenderingContext2D, x1: number, y1: number, x2: number, y2: number): void {
  ctx.beginPath();
  ctx.moveTo(x1, y1);
  ctx.lineTo(x2, y2);
  ctx.stroke();
}

/** Whether a tick is far enough from the right edge for its label to be whole. */
function fits(plot: uPlot, at: number): boolean {
  const { min = 0, max = 0 } = plot.scales["x"] ?? {};
  return ((max! - at) / (max! - min!)) * (plot.width - AXIS_WIDTH) > 18;
}

/** Local time minus UTC, in ms. */
function zoneOffset(at: number): number {
  return -new Date(at).getTimezoneOffset() * MINUTE;
}

/** `14:03` where ticks are whole minutes, `14:03:20` where they are not. */
function clockTicks(splits: number[]): string[] {
  const whole = splits.every((at) => at % 60_000 === 0);
  return splits.map((at) => (whole ? formatClock(at).slice(0, 5) : formatClock(at)));
}
