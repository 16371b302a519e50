import type { Step } from "./plan.js";

/** A range of the workgroups of a dispatch, all of them unless they would take too long at once. */
export interface Part {
  readonly step: Step;
  readonly first: number;
  readonly end: number;
  /** Workgroups in two dimensions. */
  readonly x: number;
  readonly y: number;
  readonly units: number;
}

/** Parts that one dispatch may be cut into: each has a slot of parameters. */
const MOST_PARTS = 256;

/**
 * The dispatches as ranges of workgroups that take about `most` units at the longest.
 *
 * @param perAxis workgroups that a dispatch may have along one axis
 */
export function partsOf(steps: readonly Step[], most: number, perAxis: number): Part[] {
  return steps.flatMap((step): Part[] => {
    const { workgroups } = step.dispatch;
    const count = Math.min(MOST_PARTS, workgroups, Math.max(1, Math.ceil(step.units / most)));
    const size = Math.ceil(workgroups / count);
    const parts: Part[] = [];
    for (let first = 0; first < workgroups; first += size) {
      const end = Math.min(workgroups, first + size);
      const [x, y] = gridOf(end - first, perAxis);
      parts.push({ step, first, end, x, y, units: (step.units * (end - first)) / workgroups });
    }
    return parts;
  });
}

/** Workgroups over two dimensions, with few left over. */
export function gridOf(count: number, most: number): [x: number, y: number] {
  if (count <= most) return [count, 1];
  const y = Math.ceil(count / most);
  return [Math.ceil(count / y), y];
}
