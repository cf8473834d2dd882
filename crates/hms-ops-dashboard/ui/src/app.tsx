// The page: picks the service, holds its stream, and lays out what is known about it.
import { useCallback, useEffect, useRef, useState } from "preact/hooks";
import { Banner } from "./components/banner";
import { Charts } from "./components/charts";
import { Header } from "./components/header";
import { Help } from "./components/help";
import { Empty, Failed, Skeleton } from "./components/notice";
import { Timeline } from "./components/timeline";
import { TraceList } from "./components/trace-list";
import { TraceView } from "./components/trace-view";
import { Traffic } from "./components/traffic";
import type { ServiceEntry } from "./contract";
import { useFetched } from "./fetch-json";
import { hasData, INITIAL, type LiveState } from "./live-state";
import { LiveStream } from "./live-stream";
import { adjust, go, place } from "./location";
import { Observable, useObservable } from "./observable";
import { nextTheme } from "./theme";

const SERVICES_MS = 10_000;
const NOTHING = new Observable(INITIAL);

export function App() {
  const { service: asked, trace } = useObservable(place);
  const { data, error, retry } = useFetched<{ services: ServiceEntry[] }>("api/services", SERVICES_MS);
  const services = data?.services ?? [];
  const service = asked ?? services[0]?.name ?? null;
  const stream = useStream(service);
  const live = useObservable(stream?.state ?? NOTHING);
  const { paused, shown, togglePause } = usePause(live, service);
  const [help, setHelp] = useState(false);
  useKeys({ "?": () => setHelp((open) => !open), p: togglePause, t: nextTheme, r: () => adjust({ range: null }) });

  const leaveTrace = useCallback(() => go({ trace: null }), []);
  return (
    <>
      <Header
        service={service}
        services={services}
        live={live}
        paused={paused}
        onService={(name) => go({ service: name, trace: null, range: null })}
        onPause={togglePause}
        onHelp={() => setHelp(true)}
      />
      <main>
        {service === null ? (
          <NoService loading={data === null && error === null} error={error} onRetry={retry} />
        ) : (
          <>
            <Banner service={service} live={live} />
            {trace !== null ? (
              <TraceView key={trace} traceId={trace} onBack={leaveTrace} />
            ) : (
              <Overview key={service} service={service} live={shown} paused={paused} onRetry={() => stream?.retryNow()} />
            )}
          </>
        )}
      </main>
      <footer class="foot">
        HMS-OPS {live.version} · <button type="button" onClick={() => setHelp(true)}>keys</button>
      </footer>
      <Help open={help} onClose={() => setHelp(false)} />
    </>
  );
}

interface OverviewProps {
  service: string;
  live: LiveState;
  paused: boolean;
  onRetry: () => void;
}

function Overview({ service, live, paused, onRetry }: OverviewProps) {
  const unreachable = !hasData(live) && live.attempts >= 2;
  const loading = unreachable ? (
    <Failed what="The live stream does not open" why={`Still trying to reach ${service}.`} onRetry={onRetry} />
  ) : (
    <Skeleton rows={4} />
  );
  return (
    <div class="overview">
      <section class="panel charts" aria-label="Charts">
        {live.signal === null ? loading : <Charts live={live} signal={live.signal} />}
      </section>
      <div class="rail">
        <section class="panel" aria-labelledby="traffic-heading">
          <h2 id="traffic-heading">Traffic</h2>
          {hasData(live) ? <Traffic route={live.route} /> : <Skeleton rows={2} />}
        </section>
        <section class="panel rail-timeline" aria-labelledby="timeline-heading">
          <h2 id="timeline-heading">Timeline</h2>
          {hasData(live) ? <Timeline items={live.timeline} skewMs={live.skewMs} /> : <Skeleton rows={5} />}
        </section>
      </div>
      <section class="panel wide" aria-labelledby="traces-heading">
        <h2 id="traces-heading">Traces</h2>
        <TraceList service={service} paused={paused} />
      </section>
    </div>
  );
}

function NoService({ loading, error, onRetry }: { loading: boolean; error: string | null; onRetry: () => void }) {
  if (loading) return <Skeleton rows={6} />;
  if (error !== null) return <Failed what="The services cannot be listed" why={error} onRetry={onRetry} />;
  return (
    <section class="panel">
      <Empty title="No service reports here yet">
        <p>Name one, and start it:</p>
        <pre tabIndex={0}>
          <code>{'let ops = Ops::builder().service("eligibility-svc").start().await?;'}</code>
        </pre>
      </Empty>
    </section>
  );
}

/** One open stream for the service of this moment. */
function useStream(service: string | null): LiveStream | null {
  const [stream, setStream] = useState<LiveStream | null>(null);
  useEffect(() => {
    if (service === null) return;
    const opened = new LiveStream(service);
    setStream(opened);
    return () => opened.close();
  }, [service]);
  return stream?.service === service ? stream : null;
}

/** Pausing keeps what was on screen; the stream runs on behind it. */
function usePause(live: LiveState, service: string | null) {
  const [paused, setPaused] = useState(false);
  const frozen = useRef<LiveState | null>(null);
  const latest = useRef(live);
  latest.current = live;
  const togglePause = useCallback(() => {
    setPaused((was) => {
      frozen.current = was ? null : latest.current;
      return !was;
    });
  }, []);
  useEffect(() => {
    frozen.current = null;
    setPaused(false);
  }, [service]);
  return { paused, shown: (paused ? frozen.current : null) ?? live, togglePause };
}

function useKeys(actions: Record<string, () => void>): void {
  const current = useRef(actions);
  current.current = actions;
  useEffect(() => {
    const onKey = (event: KeyboardEvent) => {
      if (event.ctrlKey || event.metaKey || event.altKey || event.repeat) return;
      if ((event.target as Element | null)?.closest?.("input, select, textarea")) return;
      if (event.key === "Escape" && document.querySelector("dialog[open]") === null && place.get().trace !== null) {
        go({ trace: null });
      }
      const action = current.current[event.key];
      if (action === undefined) return;
      event.preventDefault();
      action();
    };
    window.addEventListener("keydown", onKey);
    return () => window.removeEventListener("keydown", onKey);
  }, []);
}
