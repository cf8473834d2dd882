// From points and timeline to what the charts draw.
import { describe, expect, test } from "vitest";
import { fromZero, indexAt, markNear, marks, roundTimes, sampleIndexes, toColumns } from "./chart-data";
import type { ItemKind, TimelineItem, Tone } from "./contract";

const item = (seq: number, kind: ItemKind, title: string, tone: Tone = "neutral"): TimelineItem => ({
  seq,
  at: seq * 1000,
  kind,
  title,
  detail: "",
  run: null,
  tone,
});

describe("the charts", () => {
  test("turn seconds into milliseconds and keep the gaps", () => {
    expect(toColumns([[1, 0.5, null, 3, 0]], 1000)).toEqual({ t: [1], p50: [500], p95: [null], rate: [3], errors: [0] });
  });

  test("start at zero and always show the least height", () => {
    expect([fromZero(10, 1), fromZero(0, 0.01), fromZero(null, 0)]).toEqual([[0, 11], [0, 0.01], [0, 1]]);
  });

  test("mark alerts, runs, shifts and outcomes, with a short word each", () => {
    const timeline = [
      item(1, "transition", "firing: latency", "bad"),
      item(2, "run_claimed", "runbook rollover"),
      item(3, "call", "mesh.shift"),
      item(4, "shift", "shift 10 % to b"),
      item(5, "outcome", "rollover succeeded", "good"),
      item(6, "transition", "a title without a state"),
    ];
    expect(marks(timeline).map((mark) => mark.label)).toEqual(["firing", "runbook", "shift", "done", "a title witho…"]);
  });

  test("name the mark under the cursor only when it is near", () => {
    const all = marks([item(1, "shift", "one"), item(2, "shift", "two")]);
    expect(markNear(all, 1900, 200)?.title).toBe("two");
    expect(markNear(all, 1500, 200)).toBeNull();
  });

  test("put ticks on round local times", () => {
    expect(roundTimes(61_000, 80_000, 10_000, 0)).toEqual([70_000, 80_000]);
    const hour = 3_600_000;
    expect(roundTimes(0, 2 * hour, hour, hour / 2)).toEqual([hour / 2, 1.5 * hour]);
  });

  test("find the point at a time", () => {
    expect([5, 10, 14, 20, 99].map((t) => indexAt([10, 20, 30], t))).toEqual([-1, 0, 0, 1, 2]);
  });

  test("give the reader's table few rows, newest first, within the range", () => {
    const times = Array.from({ length: 100 }, (_, n) => n);
    expect(sampleIndexes(times, 10, 49, 4)).toEqual([49, 39, 29, 19]);
    expect(sampleIndexes(times, 200, 300, 4)).toEqual([]);
  });
});
