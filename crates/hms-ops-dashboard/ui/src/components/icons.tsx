// The page's icons: drawn by hand on a 16-unit grid, decoration only, always beside words.
import type { ItemKind } from "../contract";
import type { VerdictTone } from "../verdict";

const PATHS = {
  alarm: "M8 2.2 14.4 13.4H1.6ZM8 6.4v3.4M8 11.6v.1",
  check: "M2.5 8.5 6.3 12.2 13.5 4",
  eye: "M1.5 8C4 3.6 12 3.6 14.5 8 12 12.4 4 12.4 1.5 8ZM8 6.2a1.8 1.8 0 1 0 0 3.6 1.8 1.8 0 0 0 0-3.6Z",
  unknown: "M5.7 5.9a2.4 2.4 0 1 1 3.5 2.2c-.8.4-1.2.9-1.2 1.7M8 12.3v.1",
  play: "M5 3.2 12.2 8 5 12.8Z",
  call: "M3 8h8.6M8.2 4.4 11.8 8l-3.6 3.6",
  result: "M13 8H4.4M7.8 4.4 4.2 8l3.6 3.6",
  note: "M3 12.8 3.6 10 10.9 2.7l2.2 2.2L5.8 12.2Z",
  flag: "M4 14V2.6M4 3h8.4l-2 2.8 2 2.8H4",
  shift: "M2 5h10.2M9.4 2.2 12.2 5 9.4 7.8M14 11H3.8M6.6 8.2 3.8 11l2.8 2.8",
  bell: "M3.2 11.6h9.6c-1.2-1.4-1-3-1.2-4.8C11.3 4.4 9.9 3 8 3S4.7 4.4 4.4 6.8C4.2 8.6 4.4 10.2 3.2 11.6ZM6.8 13.8h2.4",
  control: "M3 4.6h6.4M12 4.6h1M3 11.4h1M6.6 11.4H13M10.7 3a1.6 1.6 0 1 0 0 3.2 1.6 1.6 0 0 0 0-3.2ZM5.3 9.8a1.6 1.6 0 1 0 0 3.2 1.6 1.6 0 0 0 0-3.2Z",
  dot: "M8 6.5a1.5 1.5 0 1 0 0 3 1.5 1.5 0 0 0 0-3Z",
  cross: "M3.8 3.8l8.4 8.4M12.2 3.8l-8.4 8.4",
  pause: "M5.5 3.5v9M10.5 3.5v9",
  auto: "M8 2.2a5.8 5.8 0 1 0 0 11.6ZM8 2.2a5.8 5.8 0 0 1 0 11.6",
  dark: "M13.2 9.8A5.8 5.8 0 0 1 6.2 2.8a5.8 5.8 0 1 0 7 7Z",
  light: "M8 5.2a2.8 2.8 0 1 0 0 5.6 2.8 2.8 0 0 0 0-5.6ZM8 1v1.6M8 13.4V15M1 8h1.6M13.4 8H15M3.1 3.1l1.1 1.1M11.8 11.8l1.1 1.1M12.9 3.1l-1.1 1.1M4.2 11.8l-1.1 1.1",
  back: "M9.8 3.2 5 8l4.8 4.8",
  chevron: "M6 3.5 10.5 8 6 12.5",
} as const;

export type IconName = keyof typeof PATHS;

export function Icon({ name }: { name: IconName }) {
  return (
    <svg class="icon" viewBox="0 0 16 16" aria-hidden="true" focusable="false">
      <path d={PATHS[name]} />
    </svg>
  );
}

export const VERDICT_ICON: Record<VerdictTone, IconName> = { bad: "alarm", warn: "eye", good: "check", unknown: "unknown" };

export const KIND_ICON: Record<ItemKind, IconName> = {
  transition: "alarm",
  run_claimed: "play",
  call: "call",
  result: "result",
  note: "note",
  outcome: "flag",
  shift: "shift",
  notification: "bell",
  control: "control",
  other: "dot",
};
