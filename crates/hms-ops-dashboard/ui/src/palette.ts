// The style sheet's colours for the canvas, which cannot read custom properties itself.

const TOKENS = ["ink", "muted", "grid", "blue", "blue-soft", "band", "teal", "teal-soft", "bad", "bad-soft", "good", "accent"] as const;

export type Palette = Record<(typeof TOKENS)[number], string>;

/** Resolves each token under the theme of this moment. */
export function readPalette(): Palette {
  const probe = document.createElement("span");
  probe.hidden = true;
  document.body.append(probe);
  const entries = TOKENS.map((token) => {
    probe.style.color = `var(--${token})`;
    return [token, getComputedStyle(probe).color];
  });
  probe.remove();
  return Object.fromEntries(entries) as Palette;
}
