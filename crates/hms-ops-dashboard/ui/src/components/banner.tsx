// The sentence read first: is the budget holding, and if not, which one and why.
import { useEffect } from "preact/hooks";
import { clock } from "../clock";
import { formatDuration } from "../format";
import { freshness, type LiveState } from "../live-state";
import { useObservable } from "../observable";
import { showTabSign } from "../tab-sign";
import { describe, verdict } from "../verdict";
import { Icon, VERDICT_ICON } from "./icons";

const OTHERS_SHOWN = 4;

export function Banner({ service, live }: { service: string; live: LiveState }) {
  const now = useObservable(clock);
  const told = verdict(service, live.alerts, freshness(live, now));
  useEffect(() => showTabSign(told.tone, told.headline, service), [told.tone, told.headline, service]);
  const since = told.since === null ? null : formatDuration(now + live.skewMs - told.since);
  const hidden = told.others.length - OTHERS_SHOWN;
  return (
    <section class="banner" data-tone={told.tone} aria-label="State of the budgets">
      <span class="banner-icon">
        <Icon name={VERDICT_ICON[told.tone]} />
      </span>
      <div class="banner-text">
        <div class="banner-line">
          {/* The running duration stays outside: a screen reader must not hear it every second. */}
          <span role="status">
            <strong>{told.headline}</strong>
            {told.detail !== "" && `${told.headline.endsWith("…") ? " " : ": "}${told.detail}`}
          </span>
          {since !== null && <span class="banner-since">, for {since}</span>}
        </div>
        {told.others.length > 0 && (
          <ul class="banner-others">
            {told.others.slice(0, OTHERS_SHOWN).map((alert) => (
              <li key={alert.fingerprint}>{describe(alert)}</li>
            ))}
            {hidden > 0 && <li>and {hidden} more</li>}
          </ul>
        )}
      </div>
    </section>
  );
}
