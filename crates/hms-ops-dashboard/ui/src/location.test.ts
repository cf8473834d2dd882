// What the URL keeps, and what it refuses.
import { describe, expect, test } from "vitest";
import { readPlace, writePlace } from "./location";

describe("the address", () => {
  test("survives a round trip", () => {
    const place = { service: "a & b", trace: "4bf92f", range: { kind: "fixed", from: 10, to: 20 } } as const;
    expect(readPlace(writePlace(place))).toEqual(place);
  });

  test("of nothing is the page itself, without an absolute path", () => {
    expect(writePlace({ service: null, trace: null, range: null })).toBe("./");
  });

  test("with a trace id that is not hex has no trace", () => {
    expect(readPlace("?trace=../../x").trace).toBeNull();
  });
});
