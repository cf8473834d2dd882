// Auto, dark or light: remembered, applied to the document, and announced to whoever paints by hand.
import { Observable } from "./observable";

export type Theme = "auto" | "dark" | "light";

const KEY = "hms-ops.theme";
const ORDER: Theme[] = ["auto", "dark", "light"];

export const theme = new Observable<Theme>("auto");
/** Changes whenever the colours on screen do. */
export const paint = new Observable(0);

export function startTheme(): void {
  apply(remembered());
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => paint.set(paint.get() + 1));
}

export function nextTheme(): void {
  const next = ORDER[(ORDER.indexOf(theme.get()) + 1) % ORDER.length]!;
  try {
    localStorage.setItem(KEY, next);
  } catch {
    // Storage may be forbidden; the choice then lasts as long as the page.
  }
  apply(next);
}

function apply(choice: Theme): void {
  document.documentElement.dataset["theme"] = choice;
  theme.set(choice);
  paint.set(paint.get() + 1);
}

function remembered(): Theme {
  try {
    const text = localStorage.getItem(KEY);
    return ORDER.find((known) => known === text) ?? "auto";
  } catch {
    return "auto";
  }
}
