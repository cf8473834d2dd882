// From points and timeline to what the charts draw: columns, ranges, marks, table rows. Pure.
import type { Point, TimelineItem, Tone } from "./contract";

export type Column = (number | null)[];

export interface Columns {
  t: number[];
  p50: Column;
  p95: Column;
  rate: Column;
  errors: Column;
}

/** Latency comes out in ms when the signal has a unit of time; `scale` says by how much it was multiplied. */
export function toColumns(points: Point[], latencyScale: number): Columns {
  const scaled = (value: number | null) => (value === null ? null : value * latencyScale);
  return {
    t: points.map((p) => p[0]),
    p50: points.map((p) => scaled(p[1])),
    p95: points.map((p) => scaled(p[2])),
    rate: points.map((p) => p[3]),
    errors: points.map((p) => p[4]),
  };
}

export function latencyScale(unit: string): number {
  return unit === "s" ? 1000 : 1;
}

/** A y axis from 0 that leaves air above the data and always shows `atLeast`. */
export function fromZero(dataMax: number | null, atLeast: number): [number, number] {
  const top = Math.max((dataMax ?? 0) * 1.1, atLeast);
  return [0, top > 0 ? top : 1];
}

export interface Mark {
  at: number;
  label: string;
  title: string;
  tone: Tone;
}

const MARKED = new Set(["transition", "run_claimed", "shift", "outcome"]);

/** The entries worth a vertical line: alert transitions, and what a runbook did to traffic. */
export function marks(timeline: TimelineItem[]): Mark[] {
  return timeline
    .filter((item) => MARKED.has(item.kind))
    .map((item) => ({ at: item.at, label: shortLabel(item), title: item.title, tone: item.tone }));
}

function shortLabel(item: TimelineItem): string {
  if (item.kind === "shift") return "shift";
  if (item.kind === "run_claimed") return "runbook";
  if (item.kind === "outcome") return { good: "done", bad: "failed", neutral: "outcome" }[item.tone];
  const colon = item.title.indexOf(":");
  const head = (colon > 0 ? item.title.slice(0, colon) : item.title).trim();
  return head.length > 14 ? `${head.slice(0, 13)}…` : head;
}

/** The multiples of `step` within `[from, to]`, counted in a time zone `offset` ms ahead of UTC. */
export function roundTimes(from: number, to: number, step: number, offset: number): number[] {
  const times: number[] = [];
  for (let at = Math.ceil((from + offset) / step) * step - offset; at <= to; at += step) times.push(at);
  return times;
}

/** The mark nearest to `t`, if it lies within `reach` ms. */
export function markNear(all: Mark[], t: number, reach: number): Mark | null {
  let best: Mark | null = null;
  for (const mark of all) {
    const distance = Math.abs(mark.at - t);
    if (distance <= reach && (best === null || distance < Math.abs(best.at - t))) best = mark;
  }
  return best;
}

/** Index of the last time not after `t`, or -1. */
export function indexAt(times: number[], t: number): number {
  let low = 0;
  let high = times.length;
  while (low < high) {
    const middle = (low + high) >> 1;
    if (times[middle]! <= t) low = middle + 1;
    else high = middle;
  }
  return low - 1;
}

/** At most `count` indexes spread evenly over the times within `[from, to]`, newest first. */
export function sampleIndexes(times: number[], from: number, to: number, count: number): number[] {
  const first = indexAt(times, from - 1) + 1;
  const last = indexAt(times, to);
  const size = last - first + 1;
  if (size <= 0) return [];
  const step = Math.max(1, Math.ceil(size / count));
  const picked: number[] = [];
  for (let at = last; at >= first; at -= step) picked.push(at);
  return picked;
}
