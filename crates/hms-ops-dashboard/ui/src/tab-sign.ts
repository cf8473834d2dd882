// What the browser tab says: a coloured shape and a few words, readable among twenty other tabs.
import type { VerdictTone } from "./verdict";

const SHAPES: Record<VerdictTone, string> = {
  bad: "<path d='M8 1l7 14H1z' fill='#d0312d'/>",
  warn: "<path d='M8 1l7 7-7 7-7-7z' fill='#c98a00'/>",
  good: "<circle cx='8' cy='8' r='6.5' fill='#2e8b57'/>",
  unknown: "<circle cx='8' cy='8' r='5.5' fill='none' stroke='#8a94a0' stroke-width='2.5'/>",
};

export function showTabSign(tone: VerdictTone, headline: string, service: string): void {
  document.title = `${headline} · ${service}`;
  const icon = document.querySelector<HTMLLinkElement>("link[rel=icon]");
  if (icon === null || icon.dataset["tone"] === tone) return;
  icon.dataset["tone"] = tone;
  const svg = `<svg xmlns='http://www.w3.org/2000/svg' viewBox='0 0 16 16'>${SHAPES[tone]}</svg>`;
  icon.href = `data:image/svg+xml,${encodeURIComponent(svg)}`;
}
