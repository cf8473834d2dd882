// The timeline as it is shown: newest first, with neighbours of one run joined by a rail. Pure.
import type { TimelineItem } from "./contract";

export interface TimelineRow {
  item: TimelineItem;
  /** Whether the rail of the run continues to the row above (newer) and below (older). */
  joinsAbove: boolean;
  joinsBelow: boolean;
}

export function timelineRows(items: TimelineItem[]): TimelineRow[] {
  const newestFirst = items.slice().reverse();
  const sameRun = (a: TimelineItem | undefined, b: TimelineItem) =>
    a !== undefined && b.run !== null && a.run === b.run;
  return newestFirst.map((item, at) => ({
    item,
    joinsAbove: sameRun(newestFirst[at - 1], item),
    joinsBelow: sameRun(newestFirst[at + 1], item),
  }));
}

/** Enough of an execution id to tell two runs apart. */
export function shortRun(run: string): string {
  return run.length > 10 ? run.slice(0, 8) : run;
}
