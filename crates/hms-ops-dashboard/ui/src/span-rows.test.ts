// A bag of spans as a waterfall.
import { describe, expect, test } from "vitest";
import type { Span } from "./contract";
import { barOf, waterfall } from "./span-rows";

const span = (id: string, parent: string | null, start = 0, took = 10, change: Partial<Span> = {}): Span => ({
  span_id: id,
  parent_id: parent,
  service: "svc",
  name: id,
  kind: "internal",
  start_us: start,
  duration_us: took,
  status: "unset",
  message: "",
  attributes: {},
  ...change,
});
const outline = (...spans: Span[]) =>
  waterfall(spans).rows.map((row) => (row.kind === "gap" ? row.text : `${"·".repeat(row.depth)}${row.span.name}`));

describe("a waterfall", () => {
  test("lists children under their parent, in order of start", () => {
    expect(outline(span("c", "a", 5), span("b", "a", 2), span("d", "b", 3), span("a", null))).toEqual(["a", "·b", "··d", "·c"]);
  });

  test("keeps several roots", () => {
    expect(outline(span("b", null, 2), span("a", null, 1))).toEqual(["a", "b"]);
  });

  test("shows spans whose parent never arrived under a row that says so", () => {
    expect(outline(span("a", null), span("x", "gone", 1), span("y", "x", 2), span("z", "gone", 3))).toEqual([
      "a",
      "missing parent gone",
      "·x",
      "··y",
      "·z",
    ]);
  });

  test("shows each span of a cycle once", () => {
    expect(outline(span("a", null), span("x", "y", 1), span("y", "x", 2))).toEqual([
      "a",
      "spans that are their own ancestors",
      "·x",
      "··y",
    ]);
    expect(outline(span("self", "self"))).toEqual(["spans that are their own ancestors", "·self"]);
  });

  test("shows both spans that claim one id", () => {
    expect(outline(span("a", null, 0), span("a", null, 1), span("b", "a", 2))).toEqual(["a", "·b", "a"]);
  });

  test("of ten thousand spans in one chain does not overflow", () => {
    const chain = Array.from({ length: 10_000 }, (_, n) => span(`s${n}`, n === 0 ? null : `s${n - 1}`, n));
    const rows = waterfall(chain).rows;
    expect(rows).toHaveLength(10_000);
    expect(rows.at(-1)).toMatchObject({ depth: 9999 });
  });

  test("spans the whole trace and counts its errors", () => {
    const told = waterfall([span("a", null, 100, 50), span("b", "a", 120, 90, { status: "error", service: "other" })]);
    expect(told).toMatchObject({ startUs: 100, durationUs: 110, errors: 1, services: ["svc", "other"] });
  });

  test("of no spans is empty", () => {
    expect(waterfall([])).toMatchObject({ rows: [], durationUs: 0 });
  });
});

describe("a bar", () => {
  test("lies where its span lies, in percent", () => {
    expect(barOf(span("a", null, 125, 50), { startUs: 100, durationUs: 100 })).toEqual({ left: 25, width: 50 });
  });

  test("fills the track of a trace that took no time", () => {
    expect(barOf(span("a", null), { startUs: 0, durationUs: 0 })).toEqual({ left: 0, width: 100 });
  });
});
