// The one sentence of the banner: what the alerts of a service add up to. Pure.
import type { Alert } from "./contract";
import { formatValue } from "./format";
import type { Freshness } from "./live-state";

export type VerdictTone = "bad" | "warn" | "good" | "unknown";

export interface Verdict {
  tone: VerdictTone;
  /** The state in two or three words. */
  headline: string;
  /** Which alert, and why. */
  detail: string;
  /** Server time since which this holds; `null` when that means nothing. */
  since: number | null;
  /** The other alerts that are not at rest. */
  others: Alert[];
}

/** Reads the alerts as of now; a page that cannot hear the server never claims that all is well. */
export function verdict(service: string, alerts: Alert[], fresh: Freshness): Verdict {
  const known = judge(service, alerts);
  if (fresh.kind === "live") return known;
  if (fresh.kind === "connecting") return calm("unknown", "Connecting…", service);
  const cause = fresh.kind === "stale" ? `No news from the server for ${fresh.seconds} s` : "Connection lost";
  return { ...known, tone: known.tone === "bad" ? "bad" : "unknown", headline: cause, detail: `last known was “${known.headline}: ${known.detail}”` };
}

function judge(service: string, alerts: Alert[]): Verdict {
  if (alerts.length === 0) return calm("unknown", "No budget to hold", `${service} has no budget or SLO yet`);
  const ranked = alerts
    .filter((alert) => rank(alert) > 0)
    .sort((a, b) => rank(b) - rank(a) || a.since - b.since);
  const worst = ranked[0];
  if (worst === undefined) {
    return calm("good", "All budgets hold", alerts.length === 1 ? alerts[0]!.name : `${alerts.length} budgets`);
  }
  const others = ranked.slice(1);
  const detail = `${worst.name} — ${reason(worst)}`;
  const since = worst.since;
  if (worst.state === "firing") {
    const note = worst.health === "no_data" ? ", and no data arrives" : "";
    return { tone: "bad", headline: "Budget broken", detail: detail + note, since, others };
  }
  if (worst.health === "no_data") {
    return { tone: "unknown", headline: `No data from ${service}`, detail: worst.name, since: null, others };
  }
  if (worst.health === "error") return { tone: "unknown", headline: "Cannot evaluate", detail, since: null, others };
  if (worst.state === "pending") return { tone: "warn", headline: "Watching…", detail, since, others };
  return { tone: "warn", headline: "Recovering…", detail, since, others };
}

/** How much an alert matters to the banner; 0 is at rest. */
function rank(alert: Alert): number {
  if (alert.state === "firing") return 5;
  if (alert.health === "no_data") return 2;
  if (alert.health === "error") return 1;
  if (alert.state === "pending") return 4;
  if (alert.state === "recovering") return 3;
  return 0;
}

/** One alert in a line, for the list under the banner. */
export function describe(alert: Alert): string {
  const state = alert.health === "no_data" ? "no data" : alert.health === "error" ? "cannot evaluate" : alert.state;
  return `${state}: ${alert.name} — ${reason(alert)}`;
}

function reason(alert: Alert): string {
  if (alert.summary !== "") return alert.summary;
  return `${formatValue(alert.value, alert.unit)}, budget ${formatValue(alert.threshold, alert.unit)}`;
}

function calm(tone: VerdictTone, headline: string, detail: string): Verdict {
  return { tone, headline, detail, since: null, others: [] };
}
