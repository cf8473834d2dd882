// How long to wait before connecting again. Pure.

const FIRST_MS = 250;
const LONGEST_MS = 15_000;

/** Doubles per attempt up to a limit; `random` in 0..1 spreads clients over half of the wait. */
export function backoffMs(attempts: number, random: number): number {
  const wait = Math.min(LONGEST_MS, FIRST_MS * 2 ** Math.min(attempts, 10));
  return Math.round(wait / 2 + (wait / 2) * random);
}
