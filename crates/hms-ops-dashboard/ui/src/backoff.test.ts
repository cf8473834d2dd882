// How long the page waits before it connects again.
import { expect, test } from "vitest";
import { backoffMs } from "./backoff";

test("waiting doubles up to fifteen seconds and is spread", () => {
  expect([0, 1, 3, 99].map((n) => backoffMs(n, 1))).toEqual([250, 500, 2000, 15_000]);
  expect(backoffMs(3, 0)).toBe(1000);
});
