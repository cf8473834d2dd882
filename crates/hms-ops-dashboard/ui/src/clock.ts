// The local time as a watched value, once a second: what "for 12 s" and "3 min ago" are made of.
import { Observable } from "./observable";

export const clock = new Observable(Date.now());

export function startClock(): void {
  setInterval(() => clock.set(Date.now()), 1000);
}
