// A bag of spans as the rows of a waterfall: depth first, and nothing lost to missing parents or cycles. Pure.
import type { Span } from "./contract";

export type SpanRow =
  | { kind: "span"; span: Span; depth: number; children: number }
  | { kind: "gap"; text: string; depth: 0 };

export interface Waterfall {
  rows: SpanRow[];
  startUs: number;
  durationUs: number;
  /** In order of first appearance. */
  services: string[];
  errors: number;
}

export function waterfall(spans: Span[]): Waterfall {
  const ordered = spans.slice().sort((a, b) => a.start_us - b.start_us || compare(a.span_id, b.span_id));
  const known = new Set(ordered.map((span) => span.span_id));
  const roots: Span[] = [];
  const children = new Map<string, Span[]>();
  const orphans = new Map<string, Span[]>();
  for (const span of ordered) {
    if (!span.parent_id) roots.push(span);
    else push(known.has(span.parent_id) ? children : orphans, span.parent_id, span);
  }

  const rows: SpanRow[] = [];
  const seen = new Set<Span>();
  // An explicit stack: a chain of 10,000 spans must not overflow the call stack.
  const walk = (start: Span, startDepth: number) => {
    const stack: [Span, number][] = [[start, startDepth]];
    for (let next = stack.pop(); next !== undefined; next = stack.pop()) {
      const [span, depth] = next;
      if (seen.has(span)) continue;
      seen.add(span);
      const below = children.get(span.span_id) ?? [];
      children.delete(span.span_id); // two spans may claim one id: the first keeps the children
      rows.push({ kind: "span", span, depth, children: below.length });
      for (let at = below.length - 1; at >= 0; at -= 1) stack.push([below[at]!, depth + 1]);
    }
  };

  for (const root of roots) walk(root, 0);
  for (const [parent, lost] of orphans) {
    rows.push({ kind: "gap", text: `missing parent ${parent}`, depth: 0 });
    for (const span of lost) walk(span, 1);
  }
  // Whatever no root reaches is its own ancestor.
  let inCycle = false;
  for (const span of ordered) {
    if (seen.has(span)) continue;
    if (!inCycle) rows.push({ kind: "gap", text: "spans that are their own ancestors", depth: 0 });
    inCycle = true;
    walk(span, 1);
  }

  const startUs = ordered[0]?.start_us ?? 0;
  const endUs = ordered.reduce((end, span) => Math.max(end, span.start_us + span.duration_us), startUs);
  return {
    rows,
    startUs,
    durationUs: endUs - startUs,
    services: [...new Set(ordered.map((span) => span.service))],
    errors: ordered.filter((span) => span.status === "error").length,
  };
}

/** Where a span's bar lies, in percent of the trace. */
export function barOf(span: Span, trace: Pick<Waterfall, "startUs" | "durationUs">): { left: number; width: number } {
  if (trace.durationUs <= 0) return { left: 0, width: 100 };
  const left = clamp(((span.start_us - trace.startUs) / trace.durationUs) * 100);
  return { left, width: Math.min(100 - left, clamp((span.duration_us / trace.durationUs) * 100)) };
}

function clamp(percent: number): number {
  return Math.min(100, Math.max(0, percent));
}

function push(map: Map<string, Span[]>, key: string, span: Span): void {
  const list = map.get(key);
  if (list === undefined) map.set(key, [span]);
  else list.push(span);
}

function compare(a: string, b: string): number {
  return a < b ? -1 : a > b ? 1 : 0;
}
