// Which stretch of time the charts show: the newest N milliseconds, or a fixed stretch after a zoom. Pure.
import { MAX_POINTS } from "./live-state";

export type ViewRange = { kind: "latest"; ms: number } | { kind: "fixed"; from: number; to: number };

/** The choices offered: 60, 300 and 900 steps, so a slower step gives longer windows. */
export function windows(stepMs: number): number[] {
  return [60, 300, MAX_POINTS].map((steps) => steps * stepMs);
}

export function defaultRange(stepMs: number): ViewRange {
  return { kind: "latest", ms: windows(stepMs)[1]! };
}

/** The ends of the x axis, in ms; `newest` is the time of the last point. */
export function bounds(range: ViewRange, newest: number): [from: number, to: number] {
  return range.kind === "fixed" ? [range.from, range.to] : [newest - range.ms, newest];
}

/** `300s` or `FROM-TO`, as kept in the URL. */
export function encodeRange(range: ViewRange): string {
  return range.kind === "latest" ? `${Math.round(range.ms / 1000)}s` : `${Math.round(range.from)}-${Math.round(range.to)}`;
}

/** Reads what `encodeRange` wrote; `null` for anything else. */
export function decodeRange(text: string | null): ViewRange | null {
  const latest = /^(\d{1,7})s$/.exec(text ?? "");
  if (latest !== null && Number(latest[1]) > 0) return { kind: "latest", ms: Number(latest[1]) * 1000 };
  const fixed = /^(\d{1,15})-(\d{1,15})$/.exec(text ?? "");
  if (fixed !== null && Number(fixed[1]) < Number(fixed[2])) {
    return { kind: "fixed", from: Number(fixed[1]), to: Number(fixed[2]) };
  }
  return null;
}
