// What the server sends: the JSON and SSE shapes shared with the Rust side. All text in it is hostile.

export type AlertState = "inactive" | "pending" | "firing" | "recovering" | "resolved";
export type Health = "ok" | "idle" | "no_data" | "error";
export type Tone = "bad" | "good" | "neutral";
export type ItemKind =
  | "transition"
  | "run_claimed"
  | "call"
  | "result"
  | "note"
  | "outcome"
  | "shift"
  | "notification"
  | "control"
  | "other";

/** Time in ms, p50, p95, requests per second, error ratio 0..1; `null` is "nothing happened". */
export type Point = [t: number, p50: number | null, p95: number | null, rate: number | null, errors: number | null];

export interface ServiceEntry {
  name: string;
  firing: number;
}

export interface Signal {
  source: string;
  kind: "budget" | "span_metrics" | "opentelemetry" | "convention" | "none";
  unit: string;
  budget: number | null;
  explain: string;
}

export interface Alert {
  name: string;
  fingerprint: string;
  state: AlertState;
  health: Health;
  since: number;
  value: number | null;
  threshold: number | null;
  unit: string;
  summary: string;
}

export interface TimelineItem {
  seq: number;
  at: number;
  kind: ItemKind;
  title: string;
  detail: string;
  run: string | null;
  tone: Tone;
}

export interface Cluster {
  name: string;
  weight: number;
  healthy: boolean;
  reason: string | null;
  active: number;
}

export interface Route {
  service: string;
  clusters: Cluster[];
  revision: number;
}

export interface Hello {
  version: string;
  service: string;
  now: number;
  step_ms: number;
  signal: Signal;
  points: Point[];
  alerts: Alert[];
  timeline: TimelineItem[];
  routes: Route | null;
}

export interface TraceSummary {
  trace_id: string;
  root: { service: string; name: string };
  start_ms: number;
  duration_us: number;
  spans: number;
  errors: number;
  services: string[];
}

export interface TraceList {
  traces: TraceSummary[];
  dropped: number;
}

export interface Span {
  span_id: string;
  parent_id: string | null;
  service: string;
  name: string;
  kind: string;
  start_us: number;
  duration_us: number;
  status: "unset" | "ok" | "error";
  message: string;
  attributes: Record<string, unknown>;
}

export interface Trace {
  trace_id: string;
  spans: Span[];
}
