// Keeps one event stream open, feeds its messages through the reducer, and publishes at most four times a second.
import { backoffMs } from "./backoff";
import { EVENTS, INITIAL, readMessage, reduce, type LiveMessage, type LiveState } from "./live-state";
import { Observable } from "./observable";

const PUBLISH_MS = 250;
const SILENCE_MS = 30_000; // a half-open connection never reports an error: silence must
const HEALTHY_MS = 5_000; // a stream that dies sooner did not heal, so the wait keeps growing

export class LiveStream {
  readonly state = new Observable<LiveState>(INITIAL);
  #latest: LiveState = INITIAL;
  #source: EventSource | null = null;
  #attempts = 0;
  #openedAt = 0;
  #retryTimer = 0;
  #silenceTimer = 0;
  #publishTimer = 0;
  #publishedAt = 0;
  #closed = false;

  constructor(readonly service: string) {
    window.addEventListener("online", this.retryNow);
    this.#connect();
  }

  close(): void {
    this.#closed = true;
    window.removeEventListener("online", this.retryNow);
    this.#drop();
    clearTimeout(this.#publishTimer);
  }

  retryNow = (): void => {
    if (this.#closed || this.#latest.connection === "live") return;
    this.#drop();
    this.#connect();
  };

  #connect(): void {
    const source = new EventSource(`api/stream?service=${encodeURIComponent(this.service)}`);
    this.#source = source;
    this.#openedAt = Date.now();
    for (const name of EVENTS) {
      source.addEventListener(name, (event) => {
        const message = readMessage(name, (event as MessageEvent<string>).data);
        if (message !== null) this.#accept(message);
      });
    }
    source.addEventListener("resync", () => this.#reconnect());
    source.onerror = () => this.#reconnect();
    this.#listenForSilence();
  }

  #drop(): void {
    this.#source?.close();
    this.#source = null;
    clearTimeout(this.#retryTimer);
    clearTimeout(this.#silenceTimer);
  }

  #reconnect(): void {
    this.#drop();
    const healthy = this.#latest.connection === "live" && Date.now() - this.#openedAt >= HEALTHY_MS;
    this.#attempts = healthy ? 0 : this.#attempts + 1;
    this.#apply({ type: "lost", attempts: this.#attempts });
    this.#retryTimer = window.setTimeout(() => this.#connect(), backoffMs(this.#attempts, Math.random()));
  }

  #listenForSilence(): void {
    clearTimeout(this.#silenceTimer);
    this.#silenceTimer = window.setTimeout(() => this.#reconnect(), Math.max(SILENCE_MS, this.#latest.stepMs * 3));
  }

  #accept(message: LiveMessage): void {
    this.#listenForSilence();
    this.#apply(message);
  }

  #apply(message: LiveMessage): void {
    this.#latest = reduce(this.#latest, message, Date.now());
    if (this.#publishTimer !== 0) return;
    const wait = Math.max(0, this.#publishedAt + PUBLISH_MS - Date.now());
    this.#publishTimer = window.setTimeout(() => {
      this.#publishTimer = 0;
      this.#publishedAt = Date.now();
      const publish = () => !this.#closed && this.state.set(this.#latest);
      // A hidden tab draws no frames, but its title must still turn red.
      if (document.hidden) publish();
      else requestAnimationFrame(publish);
    }, wait);
  }
}

