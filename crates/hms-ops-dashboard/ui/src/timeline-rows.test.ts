// The timeline as it is shown.
import { describe, expect, test } from "vitest";
import type { TimelineItem } from "./contract";
import { shortRun, timelineRows } from "./timeline-rows";

const item = (seq: number, run: string | null): TimelineItem => ({
  seq,
  at: seq * 1000,
  kind: "note",
  title: "",
  detail: "",
  run,
  tone: "neutral",
});

describe("the timeline", () => {
  test("is newest first and joins neighbours of one run", () => {
    const rows = timelineRows([item(1, null), item(2, "r"), item(3, "r"), item(4, "q")]);
    expect(rows.map((row) => [row.item.seq, row.joinsAbove, row.joinsBelow])).toEqual([
      [4, false, false],
      [3, false, true],
      [2, true, false],
      [1, false, false],
    ]);
  });

  test("shortens an execution id, but not a short name", () => {
    expect([shortRun("01b7d0c4e9aa42f1"), shortRun("run-7")]).toEqual(["01b7d0c4", "run-7"]);
  });
});
