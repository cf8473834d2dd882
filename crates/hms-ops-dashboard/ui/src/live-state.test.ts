// What the page knows, and how each message changes it.
import { describe, expect, test } from "vitest";
import type { Hello, Point, TimelineItem } from "./contract";
import { freshness, INITIAL, mergeItems, mergePoints, readMessage, reduce, type LiveState } from "./live-state";

const point = (t: number, p50 = 1): Point => [t, p50, 2, 3, 0];
const item = (seq: number, title = ""): TimelineItem => ({
  seq,
  at: seq,
  kind: "note",
  title,
  detail: "",
  run: null,
  tone: "neutral",
});
const hello = (change: Partial<Hello> = {}): Hello => ({
  version: "0.1.0",
  service: "svc",
  now: 5000,
  step_ms: 1000,
  signal: { source: "m", kind: "budget", unit: "ms", budget: 300, explain: "" },
  points: [],
  alerts: [],
  timeline: [],
  routes: null,
  ...change,
});
const live = (now: number): LiveState => reduce(INITIAL, { type: "hello", hello: hello() }, now);

describe("points", () => {
  test("arrive in order at the end", () => {
    expect(mergePoints([point(1)], [point(2), point(3)]).map((p) => p[0])).toEqual([1, 2, 3]);
  });

  test("of a known time replace the old ones", () => {
    expect(mergePoints([point(1), point(2, 10)], [point(2, 20)])).toEqual([point(1), point(2, 20)]);
    expect(mergePoints([point(1, 10), point(2)], [point(1, 20)])).toEqual([point(1, 20), point(2)]);
  });

  test("that are older than the newest and unknown are dropped", () => {
    expect(mergePoints([point(1), point(5)], [point(3)])).toEqual([point(1), point(5)]);
  });

  test("never exceed 900, the newest stay", () => {
    const many = mergePoints([], Array.from({ length: 2000 }, (_, n) => point(n)));
    expect(many).toHaveLength(900);
    expect(many.at(-1)![0]).toBe(1999);
  });
});

describe("timeline items", () => {
  test("are ordered by sequence number and shown once", () => {
    expect(mergeItems([item(2)], [item(1), item(2, "again")])).toEqual([item(1), item(2, "again")]);
  });

  test("never exceed 200, the newest stay", () => {
    const many = mergeItems([], Array.from({ length: 500 }, (_, n) => item(n)));
    expect([many.length, many.at(-1)!.seq]).toEqual([200, 499]);
  });
});

describe("the state of a service", () => {
  test("is replaced as a whole by a hello", () => {
    const old = reduce(live(0), { type: "points", points: [point(1)] }, 10);
    const next = reduce(old, { type: "hello", hello: hello({ points: [point(9)] }) }, 20);
    expect(next.points).toEqual([point(9)]);
    expect(next.connection).toBe("live");
  });

  test("knows how far the server's clock is ahead", () => {
    expect(live(4000).skewMs).toBe(1000);
  });

  test("keeps its data while the stream is lost", () => {
    const lost = reduce(live(0), { type: "lost", attempts: 1 }, 10);
    expect(lost.connection).toBe("reconnecting");
    expect(lost.signal).not.toBeNull();
  });

  test("is stale after five silent seconds, and says for how long", () => {
    expect(freshness(live(1000), 6000)).toEqual({ kind: "live" });
    expect(freshness(live(1000), 13_400)).toEqual({ kind: "stale", seconds: 12 });
  });

  test("of a slow step is not stale before three steps", () => {
    const slow = reduce(INITIAL, { type: "hello", hello: hello({ step_ms: 15_000 }) }, 0);
    expect(freshness(slow, 40_000)).toEqual({ kind: "live" });
  });
});

describe("an event", () => {
  test("that is not JSON, or lacks its list, is ignored", () => {
    expect(readMessage("points", "{")).toBeNull();
    expect(readMessage("points", "null")).toBeNull();
    expect(readMessage("alerts", '{"alerts":{}}')).toBeNull();
    expect(readMessage("hello", "{}")).toBeNull();
  });

  test("without a route says that there is none", () => {
    expect(readMessage("routes", '{"routes":null}')).toEqual({ type: "routes", routes: null });
  });
});
