// Numbers and times as people read them.
import { describe, expect, test } from "vitest";
import { formatAgo, formatAttribute, formatDuration, formatMicros, formatNumber, formatPercent, formatValue } from "./format";

describe("a value", () => {
  test("is shown in the readable unit of time", () => {
    expect([0.42, 4.25, 42.36, 412.3, 1240].map((v) => formatValue(v, "ms"))).toEqual([
      "420 µs",
      "4.25 ms",
      "42.4 ms",
      "412 ms",
      "1.24 s",
    ]);
    expect(formatValue(0.412, "s")).toBe("412 ms");
    expect(formatValue(0, "ms")).toBe("0 ms");
  });

  test("that is missing is a dash", () => {
    expect([null, undefined, Number.NaN].map((v) => formatValue(v, "ms"))).toEqual(["–", "–", "–"]);
    expect(formatPercent(null)).toBe("–");
  });

  test("of another unit carries it", () => {
    expect([formatValue(3, "jobs"), formatValue(3, "")]).toEqual(["3 jobs", "3"]);
  });
});

test("a ratio keeps the digits that matter", () => {
  expect([0, 0.00012, 0.0143, 0.5, 1].map(formatPercent)).toEqual(["0 %", "0.012 %", "1.43 %", "50 %", "100 %"]);
});

test("a large number is shortened", () => {
  expect([0.5, 999, 12_340, 5_000_000].map(formatNumber)).toEqual(["0.5", "999", "12.3 k", "5 M"]);
});

test("a duration has at most two units", () => {
  expect([0, 12_300, 200_000, 180_000, 7_500_000, 90_000_000].map(formatDuration)).toEqual([
    "0 s",
    "12 s",
    "3 min 20 s",
    "3 min",
    "2 h 5 min",
    "1 d 1 h",
  ]);
});

test("an age below a second, or ahead of us, is just now", () => {
  expect([-500, 0, 12_000, 200_000].map(formatAgo)).toEqual(["just now", "just now", "12 s ago", "3 min ago"]);
});

test("a span's duration keeps three digits, so that columns line up", () => {
  expect([300, 2400, 41_230, 414_000, 999_700, 1_240_000, 99_960].map(formatMicros)).toEqual([
    "300 µs",
    "2.40 ms",
    "41.2 ms",
    "414 ms",
    "1.00 s",
    "1.24 s",
    "100 ms",
  ]);
});

test("an attribute of any JSON type is one line of text", () => {
  expect(["x", 3, true, null, ["a"], { b: 1 }].map(formatAttribute)).toEqual(["x", "3", "true", "null", '["a"]', '{"b":1}']);
});
