// The top line: which service, how fresh the page is, and the few switches it has.
import { clock } from "../clock";
import type { ServiceEntry } from "../contract";
import { freshness, type Freshness, type LiveState } from "../live-state";
import { useObservable } from "../observable";
import { nextTheme, theme } from "../theme";
import { Icon } from "./icons";

interface Props {
  service: string | null;
  services: ServiceEntry[];
  live: LiveState;
  paused: boolean;
  onService: (name: string) => void;
  onPause: () => void;
  onHelp: () => void;
}

export function Header({ service, services, live, paused, onService, onPause, onHelp }: Props) {
  const shown = useObservable(theme);
  return (
    <header class="top">
      <div class="top-what">
        <span class="brand">HMS-OPS</span>
        <ServicePicker service={service} services={services} onService={onService} />
      </div>
      <div class="top-tools">
        {service !== null && <Connection live={live} paused={paused} />}
        <button type="button" class="tool" aria-pressed={paused} aria-keyshortcuts="p" onClick={onPause}>
          <Icon name={paused ? "play" : "pause"} />
          <span class="tool-text">{paused ? "Resume" : "Pause"}</span>
        </button>
        <button type="button" class="tool" aria-keyshortcuts="t" onClick={nextTheme} title="Switch colours">
          <Icon name={shown} />
          <span class="tool-text">
            <span class="sr-only">Theme: </span>
            {THEME_NAME[shown]}
          </span>
        </button>
        <button type="button" class="tool" aria-keyshortcuts="?" aria-label="Help" onClick={onHelp}>
          ?
        </button>
      </div>
    </header>
  );
}

const THEME_NAME = { auto: "Auto", dark: "Dark", light: "Light" };

function ServicePicker({ service, services, onService }: Pick<Props, "service" | "services" | "onService">) {
  const others = services.filter((entry) => entry.name !== service);
  if (service === null) return <h1 class="service">No service</h1>;
  if (others.length === 0) return <h1 class="service">{service}</h1>;
  const firing = others.filter((entry) => entry.firing > 0).length;
  return (
    <>
      <h1 class="sr-only">{service}</h1>
      <select
        class="service picker"
        aria-label="Service"
        value={service}
        onChange={(event) => onService(event.currentTarget.value)}
      >
        {[service, ...others.map((entry) => entry.name)].sort().map((name) => {
          const count = services.find((entry) => entry.name === name)?.firing ?? 0;
          return (
            <option key={name} value={name}>
              {count > 0 ? `${name} (${count} firing)` : name}
            </option>
          );
        })}
      </select>
      {firing > 0 && <span class="elsewhere">{firing} more firing</span>}
    </>
  );
}

function Connection({ live, paused }: { live: LiveState; paused: boolean }) {
  const fresh = freshness(live, useObservable(clock));
  const kind = paused && fresh.kind === "live" ? "paused" : fresh.kind;
  return (
    <span class="connection" data-state={kind}>
      <span class="connection-dot" aria-hidden="true" />
      {connectionText(fresh, paused)}
    </span>
  );
}

function connectionText(fresh: Freshness, paused: boolean): string {
  const text = { connecting: "Connecting", live: "Live", reconnecting: "Reconnecting", stale: "Stale" }[fresh.kind];
  const full = fresh.kind === "stale" ? `${text} ${fresh.seconds} s` : text;
  if (!paused) return full;
  return fresh.kind === "live" ? "Paused" : `${full}, paused`;
}
