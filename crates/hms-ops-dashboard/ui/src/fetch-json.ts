// Reads JSON from the server, and keeps a list fresh while someone looks at it.
import { useCallback, useEffect, useState } from "preact/hooks";

const TIMEOUT_MS = 10_000;

/** Fails with one sentence fit for the page. */
export async function fetchJson<T>(url: string, signal: AbortSignal): Promise<T> {
  const response = await fetch(url, { signal: AbortSignal.any([signal, AbortSignal.timeout(TIMEOUT_MS)]) });
  const body: unknown = await response.json().catch(() => null);
  if (!response.ok) {
    const said = (body as { error?: unknown } | null)?.error;
    throw new Error(typeof said === "string" ? said : `the server answered ${response.status}`);
  }
  if (typeof body !== "object" || body === null) throw new Error("the server's answer is not JSON");
  return body as T;
}

export interface Fetched<T> {
  data: T | null;
  error: string | null;
  retry: () => void;
}

/**
 * Fetches `url` now and every `everyMs` while `active`; `null` for either means once, or not at all.
 * An error keeps the data that was there.
 */
export function useFetched<T>(url: string | null, everyMs: number | null, active = true): Fetched<T> {
  const [answer, setAnswer] = useState<{ url: string | null; data: T | null; error: string | null }>({
    url: null,
    data: null,
    error: null,
  });
  const [round, setRound] = useState(0);
  const retry = useCallback(() => setRound((n) => n + 1), []);

  useEffect(() => {
    if (url === null || !active) return;
    const abort = new AbortController();
    let timer = 0;
    const load = async () => {
      // A tab nobody sees asks for nothing, and looks again soon.
      if (!document.hidden) {
        try {
          const data = await fetchJson<T>(url, abort.signal);
          if (!abort.signal.aborted) setAnswer({ url, data, error: null });
        } catch (error) {
          if (abort.signal.aborted) return;
          const text = error instanceof Error ? sentence(error) : "the request failed";
          setAnswer((old) => ({ url, data: old.url === url ? old.data : null, error: text }));
        }
      }
      if (everyMs !== null && !abort.signal.aborted) timer = window.setTimeout(load, everyMs);
    };
    void load();
    return () => {
      abort.abort();
      clearTimeout(timer);
    };
  }, [url, everyMs, active, round]);

  const current = answer.url === url;
  return { data: current ? answer.data : null, error: current ? answer.error : null, retry };
}

function sentence(error: Error): string {
  if (error.name === "TimeoutError") return "the server did not answer in time";
  if (error instanceof TypeError) return "the server cannot be reached";
  return error.message;
}
