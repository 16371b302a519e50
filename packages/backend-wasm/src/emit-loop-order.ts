import type { LoopGroup } from "@lowrank/tensor/backend";

/** An innermost axis shorter than this is not worth having. */
const SHORT_AXIS = 16;

/**
 * A loop that reduces without storing may visit its elements in any order, as long as kept axes stay in order: the one
 * that most loads have side by side in memory becomes the innermost. A transposed matrix is then summed as it lies.
 */
export function orderAxes(group: LoopGroup): LoopGroup {
  const { space, reduced, stores, reductions } = group;
  const inner = space.length - 1;
  if (reductions.length === 0 || stores.length > 0 || inner < 1) return group;
  const lastKept = reduced.lastIndexOf(false);
  let best = inner;
  let least = innerCost(group, inner);
  space.forEach((_, axis) => {
    if (axis === inner || !(reduced[axis] || axis === lastKept)) return;
    const cost = innerCost(group, axis);
    if (cost < 0.7 * least) [best, least] = [axis, cost];
  });
  if (best === inner) return group;
  const order = [...space.keys()].filter((axis) => axis !== best);
  order.push(best);
  const turn = <T>(list: readonly T[]): T[] => order.map((axis) => list[axis]!);
  return {
    ...group,
    space: turn(space),
    reduced: turn(reduced),
    loads: group.loads.map((load) =>
      load.kind === "scalar" ? load : { ...load, strides: turn(load.strides) },
    ),
  };
}

/** Rough cost of an element with `axis` innermost: 1 for a load that runs evenly, up to 8 for one that jumps over lines. */
function innerCost({ space, loads }: LoopGroup, axis: number): number {
  let cost = space[axis]! < SHORT_AXIS ? 4 : 0;
  for (const load of loads) {
    if (load.kind !== "value") continue;
    const stride = Math.abs(load.strides[axis]!);
    cost += stride <= 1 ? 1 : Math.min(8, 1 + stride / 2);
  }
  return cost;
}
