// What the banner says.
import { describe, expect, test } from "vitest";
import type { Alert } from "./contract";
import { verdict } from "./verdict";

const LIVE = { kind: "live" } as const;
const alert = (change: Partial<Alert>): Alert => ({
  name: "eligibility.latency_ms",
  fingerprint: "f",
  state: "inactive",
  health: "ok",
  since: 1000,
  value: 412,
  threshold: 300,
  unit: "ms",
  summary: "mean over 60 s is 412 ms, budget 300 ms",
  ...change,
});
const judge = (...alerts: Partial<Alert>[]) => verdict("svc", alerts.map(alert), LIVE);

describe("the banner", () => {
  test("names the broken budget and why", () => {
    expect(judge({ state: "firing" })).toMatchObject({
      tone: "bad",
      headline: "Budget broken",
      detail: "eligibility.latency_ms — mean over 60 s is 412 ms, budget 300 ms",
      since: 1000,
    });
  });

  test("is green when every alert is inactive or resolved", () => {
    expect(judge({}, { state: "resolved" })).toMatchObject({ tone: "good", headline: "All budgets hold", detail: "2 budgets" });
  });

  test("is green while a source is idle", () => {
    expect(judge({ health: "idle" }).tone).toBe("good");
  });

  test("is amber while an alert is pending or recovering", () => {
    expect(judge({ state: "pending" })).toMatchObject({ tone: "warn", headline: "Watching…" });
    expect(judge({ state: "recovering" })).toMatchObject({ tone: "warn", headline: "Recovering…" });
  });

  test("is grey without data, because silence is not health", () => {
    expect(judge({ health: "no_data" })).toMatchObject({ tone: "unknown", headline: "No data from svc" });
  });

  test("stays red when a firing alert loses its data", () => {
    expect(judge({ state: "firing", health: "no_data" })).toMatchObject({ tone: "bad" });
  });

  test("leads with the worst alert and lists the others", () => {
    const told = judge({ state: "pending", name: "a" }, { state: "firing", name: "b" }, { name: "c" });
    expect(told.detail).toContain("b — ");
    expect(told.others.map((other) => other.name)).toEqual(["a"]);
  });

  test("falls back to value and budget when there is no summary", () => {
    expect(judge({ state: "firing", summary: "" }).detail).toBe("eligibility.latency_ms — 412 ms, budget 300 ms");
  });

  test("is grey without any alert", () => {
    expect(judge()).toMatchObject({ tone: "unknown", headline: "No budget to hold" });
  });

  test("never claims that all is well while the server cannot be heard", () => {
    const told = verdict("svc", [alert({})], { kind: "stale", seconds: 12 });
    expect(told.tone).toBe("unknown");
    expect(told.headline).toBe("No news from the server for 12 s");
    expect(told.detail).toBe("last known was “All budgets hold: eligibility.latency_ms”");
  });

  test("stays red while the server cannot be heard", () => {
    expect(verdict("svc", [alert({ state: "firing" })], { kind: "reconnecting" })).toMatchObject({
      tone: "bad",
      headline: "Connection lost",
    });
  });
});
