// Numbers and times as people read them. Pure.

export const NONE = "–";

/** A metric value with its unit; seconds and milliseconds choose the readable one. */
export function formatValue(value: number | null | undefined, unit: string): string {
  if (value === null || value === undefined || !Number.isFinite(value)) return NONE;
  if (unit === "ms") return formatMs(value);
  if (unit === "s") return formatMs(value * 1000);
  return unit === "" ? formatNumber(value) : `${formatNumber(value)} ${unit}`;
}

export function formatMs(ms: number): string {
  const size = Math.abs(ms);
  if (size >= 60_000) return formatDuration(ms);
  if (size >= 1000) return `${trim(ms / 1000, 2)} s`;
  if (size > 0 && size < 1) return `${trim(ms * 1000, 0)} µs`;
  return `${trim(ms, size < 10 ? 2 : size < 100 ? 1 : 0)} ms`;
}

export function formatNumber(value: number): string {
  const size = Math.abs(value);
  if (size >= 1e9) return `${trim(value / 1e9, 1)} G`;
  if (size >= 1e6) return `${trim(value / 1e6, 1)} M`;
  if (size >= 1e4) return `${trim(value / 1e3, 1)} k`;
  return trim(value, size < 1 ? 3 : size < 10 ? 2 : size < 100 ? 1 : 0);
}

export function formatPercent(ratio: number | null | undefined): string {
  if (ratio === null || ratio === undefined || !Number.isFinite(ratio)) return NONE;
  const percent = ratio * 100;
  return `${trim(percent, percent < 1 ? 3 : percent < 10 ? 2 : 1)} %`;
}

/** A span of time in at most two units: `12 s`, `3 min 20 s`, `2 h 5 min`. */
export function formatDuration(ms: number): string {
  const seconds = Math.max(0, Math.floor(ms / 1000));
  if (seconds < 60) return `${seconds} s`;
  if (seconds < 3600) return pair(seconds, 60, "min", 1, "s");
  if (seconds < 86_400) return pair(seconds, 3600, "h", 60, "min");
  return pair(seconds, 86_400, "d", 3600, "h");
}

export function formatAgo(ms: number): string {
  return ms < 1000 ? "just now" : `${coarse(ms)} ago`;
}

/** Three digits, kept even when zero, so that a column of durations lines up. */
export function formatMicros(us: number): string {
  if (us < 1000) return `${Math.round(us)} µs`;
  const ms = us / 1000;
  if (ms >= 60_000) return formatDuration(ms);
  const [value, unit] = ms >= 999.5 ? [ms / 1000, "s"] : [ms, "ms"];
  return `${value.toFixed(value < 9.995 ? 2 : value < 99.95 ? 1 : 0)} ${unit}`;
}

/** Local time of day, `14:03:22` and, with `millis`, `14:03:22.071`. */
export function formatClock(at: number, millis = false): string {
  const date = new Date(at);
  if (Number.isNaN(date.getTime())) return NONE;
  const clock = [date.getHours(), date.getMinutes(), date.getSeconds()].map((n) => pad(n, 2)).join(":");
  return millis ? `${clock}.${pad(date.getMilliseconds(), 3)}` : clock;
}

/** An attribute's value as one line of text, whatever its JSON type. */
export function formatAttribute(value: unknown): string {
  return typeof value === "string" ? value : (JSON.stringify(value) ?? NONE);
}

export function plural(count: number, one: string, many = `${one}s`): string {
  return `${formatNumber(count)} ${count === 1 ? one : many}`;
}

function coarse(ms: number): string {
  const seconds = Math.floor(ms / 1000);
  if (seconds < 60) return `${seconds} s`;
  if (seconds < 3600) return `${Math.floor(seconds / 60)} min`;
  return formatDuration(ms);
}

function pair(seconds: number, big: number, bigName: string, small: number, smallName: string): string {
  const rest = Math.floor((seconds % big) / small);
  const head = `${Math.floor(seconds / big)} ${bigName}`;
  return rest === 0 ? head : `${head} ${rest} ${smallName}`;
}

/** At most `digits` decimals, without trailing zeros. */
function trim(value: number, digits: number): string {
  const text = value.toFixed(digits);
  return digits > 0 ? text.replace(/\.?0+$/, "") : text;
}

function pad(value: number, width: number): string {
  return String(value).padStart(width, "0");
}
