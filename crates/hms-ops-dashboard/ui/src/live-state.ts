// What the page knows about one service, and how each message of the stream changes it. Pure.
import type { Alert, Hello, Point, Route, Signal, TimelineItem } from "./contract";

export const MAX_POINTS = 900;
export const MAX_ITEMS = 200;

export interface LiveState {
  connection: "connecting" | "live" | "reconnecting";
  /** Failed attempts since the stream was last healthy. */
  attempts: number;
  /** Local time of the last message. */
  heardAt: number | null;
  /** Server clock minus local clock, in ms. */
  skewMs: number;
  version: string;
  stepMs: number;
  signal: Signal | null;
  points: Point[];
  alerts: Alert[];
  timeline: TimelineItem[];
  route: Route | null;
}

export type LiveMessage =
  | { type: "hello"; hello: Hello }
  | { type: "points"; points: Point[] }
  | { type: "alerts"; alerts: Alert[] }
  | { type: "timeline"; items: TimelineItem[] }
  | { type: "routes"; routes: Route | null }
  | { type: "lost"; attempts: number };

/** The events of the stream that carry data; `resync` carries none. */
export const EVENTS = ["hello", "points", "alerts", "timeline", "routes"] as const;

/** Reads one event; `null` when it is not what the contract says, for one bad line must not end the page. */
export function readMessage(name: (typeof EVENTS)[number], text: string): LiveMessage | null {
  try {
    const body = JSON.parse(text);
    switch (name) {
      case "hello": {
        const complete = body.signal && [body.points, body.alerts, body.timeline].every(Array.isArray);
        return complete ? { type: "hello", hello: body } : null;
      }
      case "points":
        return Array.isArray(body.points) ? { type: "points", points: body.points } : null;
      case "alerts":
        return Array.isArray(body.alerts) ? { type: "alerts", alerts: body.alerts } : null;
      case "timeline":
        return Array.isArray(body.items) ? { type: "timeline", items: body.items } : null;
      case "routes":
        return { type: "routes", routes: body.routes ?? null };
    }
  } catch {
    return null;
  }
}

export const INITIAL: LiveState = {
  connection: "connecting",
  attempts: 0,
  heardAt: null,
  skewMs: 0,
  version: "",
  stepMs: 1000,
  signal: null,
  points: [],
  alerts: [],
  timeline: [],
  route: null,
};

/** `signal` arrives with the first hello; until then there is nothing to show. */
export function hasData(state: LiveState): boolean {
  return state.signal !== null;
}

export function reduce(state: LiveState, message: LiveMessage, now: number): LiveState {
  switch (message.type) {
    case "hello": {
      const { hello } = message;
      return {
        connection: "live",
        attempts: 0,
        heardAt: now,
        skewMs: hello.now - now,
        version: hello.version,
        stepMs: hello.step_ms > 0 ? hello.step_ms : 1000,
        signal: hello.signal,
        points: mergePoints([], hello.points),
        alerts: hello.alerts,
        timeline: mergeItems([], hello.timeline),
        route: hello.routes,
      };
    }
    case "points":
      return { ...state, heardAt: now, points: mergePoints(state.points, message.points) };
    case "alerts":
      return { ...state, heardAt: now, alerts: message.alerts };
    case "timeline":
      return { ...state, heardAt: now, timeline: mergeItems(state.timeline, message.items) };
    case "routes":
      return { ...state, heardAt: now, route: message.routes };
    case "lost":
      return { ...state, connection: hasData(state) ? "reconnecting" : "connecting", attempts: message.attempts };
  }
}

/** Appends in time order; a point of a known time replaces the old one, older strangers are dropped. */
export function mergePoints(known: Point[], fresh: Point[]): Point[] {
  if (fresh.length === 0) return known;
  const merged = known.slice();
  for (const point of fresh) {
    let at = merged.length - 1;
    while (at >= 0 && merged[at]![0] > point[0]) at -= 1;
    if (at >= 0 && merged[at]![0] === point[0]) merged[at] = point;
    else if (at === merged.length - 1) merged.push(point);
  }
  return merged.slice(-MAX_POINTS);
}

/** Orders by sequence number; a known number replaces the old item. */
export function mergeItems(known: TimelineItem[], fresh: TimelineItem[]): TimelineItem[] {
  if (fresh.length === 0) return known;
  const bySeq = new Map(known.map((item) => [item.seq, item]));
  for (const item of fresh) bySeq.set(item.seq, item);
  return [...bySeq.values()].sort((a, b) => a.seq - b.seq).slice(-MAX_ITEMS);
}

export type Freshness = { kind: "connecting" | "live" | "reconnecting" } | { kind: "stale"; seconds: number };

/** How far the page may be trusted at the local time `now`. */
export function freshness(state: LiveState, now: number): Freshness {
  if (state.connection !== "live") return { kind: state.connection };
  const silence = state.heardAt === null ? 0 : now - state.heardAt;
  if (silence > Math.max(5000, state.stepMs * 3)) return { kind: "stale", seconds: Math.floor(silence / 1000) };
  return { kind: "live" };
}
