// What the URL holds: service, trace and range, so that a link shows what its sender saw.
import { Observable } from "./observable";
import { decodeRange, encodeRange, type ViewRange } from "./view-range";

export interface Place {
  service: string | null;
  trace: string | null;
  range: ViewRange | null;
}

export function readPlace(search: string): Place {
  const query = new URLSearchParams(search);
  const trace = query.get("trace");
  return {
    service: query.get("service") || null,
    trace: trace !== null && /^[0-9a-f]{1,32}$/.test(trace) ? trace : null,
    range: decodeRange(query.get("range")),
  };
}

export function writePlace(place: Place): string {
  const query = new URLSearchParams();
  if (place.service !== null) query.set("service", place.service);
  if (place.trace !== null) query.set("trace", place.trace);
  if (place.range !== null) query.set("range", encodeRange(place.range));
  const text = query.toString();
  return text === "" ? "./" : `?${text}`;
}

export const place = new Observable<Place>({ service: null, trace: null, range: null });

/** Follows the address bar from now on. */
export function followLocation(): void {
  place.set(readPlace(location.search));
  window.addEventListener("popstate", () => place.set(readPlace(location.search)));
}

/** Goes elsewhere: a new entry in the history, so that Back returns. */
export function go(change: Partial<Place>): void {
  const next = { ...place.get(), ...change };
  history.pushState(null, "", writePlace(next));
  place.set(next);
}

/** Same place seen differently (a zoom): no new entry in the history. */
export function adjust(change: Partial<Place>): void {
  const next = { ...place.get(), ...change };
  history.replaceState(null, "", writePlace(next));
  place.set(next);
}
