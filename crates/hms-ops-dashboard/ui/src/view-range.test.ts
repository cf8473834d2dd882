// Which stretch of time the charts show.
import { describe, expect, test } from "vitest";
import { bounds, decodeRange, encodeRange, windows } from "./view-range";

describe("a range", () => {
  test("is either the newest stretch or a fixed one", () => {
    expect(decodeRange("300s")).toEqual({ kind: "latest", ms: 300_000 });
    expect(decodeRange("10-20")).toEqual({ kind: "fixed", from: 10, to: 20 });
    expect(encodeRange({ kind: "fixed", from: 10.4, to: 20 })).toBe("10-20");
  });

  test("that makes no sense is ignored", () => {
    expect([null, "", "0s", "20-10", "1e9s", "x"].map(decodeRange)).toEqual([null, null, null, null, null, null]);
  });

  test("of the newest stretch ends at the newest point", () => {
    expect(bounds({ kind: "latest", ms: 300 }, 1000)).toEqual([700, 1000]);
  });

  test("offers longer windows for a slower step", () => {
    expect(windows(15_000)).toEqual([900_000, 4_500_000, 13_500_000]);
  });
});
