// Where the traffic goes: one bar for the split, one line per cluster.
import type { Route } from "../contract";
import { formatNumber, formatPercent } from "../format";
import { Icon } from "./icons";
import { Empty } from "./notice";

/** A list this long scrolls, so the keyboard must reach it. */
const SCROLLS_FROM = 4;

export function Traffic({ route }: { route: Route | null }) {
  if (route === null || route.clusters.length === 0) {
    return (
      <Empty title="No traffic split">
        <p>This service is not routed by HMS-OPS.</p>
      </Empty>
    );
  }
  const total = route.clusters.reduce((sum, cluster) => sum + cluster.weight, 0);
  const share = (weight: number) => (total > 0 ? weight / total : 0);
  return (
    <>
      <div class="split" aria-hidden="true">
        {route.clusters.map((cluster, n) => (
          <div
            key={cluster.name}
            class="split-part"
            data-hue={n % 6}
            data-healthy={cluster.healthy}
            style={{ flexGrow: share(cluster.weight) }}
          />
        ))}
      </div>
      <ul class="clusters" tabIndex={route.clusters.length > SCROLLS_FROM ? 0 : undefined}>
        {route.clusters.map((cluster, n) => (
          <li key={cluster.name} class="cluster">
            <span class="cluster-name">
              <span class="swatch" data-hue={n % 6} aria-hidden="true" />
              {cluster.name}
            </span>
            <span class="cluster-share">{formatPercent(share(cluster.weight))}</span>
            <span class="cluster-health" data-tone={cluster.healthy ? "good" : "bad"}>
              <Icon name={cluster.healthy ? "check" : "cross"} />
              {cluster.healthy ? "healthy" : unhealthy(cluster.reason)}
            </span>
            <span class="cluster-active">{formatNumber(cluster.active)} active</span>
          </li>
        ))}
      </ul>
    </>
  );
}

function unhealthy(reason: string | null): string {
  return reason ? `unhealthy: ${reason}` : "unhealthy";
}
