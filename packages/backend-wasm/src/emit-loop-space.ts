import type { LoopGroup } from "@lowrank/tensor/backend";

/** Runs shorter than this are cheaper to copy together than to visit one by one. */
const SHORT_RUN = 128;

/**
 * Rows of a map that no block crosses, so that loads that repeat or lie side by side within a row need no copy; and the
 * number of blocks.
 */
export function splitMap(group: LoopGroup, size: number, block: number): { rows: number; row: number; blocks: number } {
  let row = size;
  for (const load of group.loads) {
    if (load.kind !== "value") continue;
    const inner = innerRun(group.space, load.strides);
    if (inner >= SHORT_RUN && inner < row) row = inner;
  }
  const rows = size / row;
  return { rows, row, blocks: rows * Math.ceil(row / block) };
}

/** Elements along which the address grows evenly. */
function innerRun(space: readonly number[], strides: readonly number[]): number {
  let run = 1;
  let next: number | null = null;
  for (let d = space.length - 1; d >= 0; d--) {
    if (space[d] === 1) continue;
    if (next !== null && strides[d] !== next) break;
    next = strides[d]! * space[d]!;
    run *= space[d]!;
  }
  return run;
}

/** How the space of a reduction is walked. Steps are in elements of the space, row-major. */
export interface ReducedSpace {
  /** Whether the innermost axis is reduced (else it is kept). */
  readonly rows: boolean;
  readonly kept: readonly (readonly [size: number, step: number])[];
  readonly keptSize: number;
  readonly reduced: readonly (readonly [size: number, step: number])[];
  readonly reducedSize: number;
  readonly innerReduced: number;
  /** 1 for rows. */
  readonly innerKept: number;
  /** The inner reduced range is cut into pieces of this length, joined in order afterwards. */
  readonly pieces: number;
  readonly piece: number;
  /** Independent units of work. */
  readonly items: number;
}

const product = (axes: readonly (readonly [number, number])[]): number => axes.reduce((n, [size]) => n * size, 1);

export function reducedSpace(group: LoopGroup, block: number): ReducedSpace {
  const axes: { size: number; reduced: boolean; step: number }[] = [];
  let step = 1;
  for (let d = group.space.length - 1; d >= 0; d--) {
    const size = group.space[d]!;
    if (size === 1) continue;
    const inner = axes[0];
    const reduced = group.reduced[d]!;
    if (inner && inner.reduced === reduced) inner.size *= size;
    else axes.unshift({ size, reduced, step });
    step *= size;
  }
  if (!axes.some((axis) => axis.reduced)) axes.push({ size: 1, reduced: true, step: 1 });
  const rows = axes.at(-1)!.reduced;
  const innerKept = rows ? 1 : axes.pop()!.size;
  const innerReduced = axes.pop()!.size;
  const list = (reduced: boolean) =>
    axes.filter((axis) => axis.reduced === reduced).map(({ size, step }) => [size, step] as const);
  const [kept, reduced] = [list(false), list(true)];
  const keptSize = product(kept);
  const together = Math.max(1, Math.floor(block / innerKept));
  const segments = Math.ceil(innerKept / block);
  // Pieces by shape alone, never by threads: the same bits on any machine.
  const units = keptSize * segments;
  const unit = rows ? block : together;
  let pieces = 1;
  let piece = innerReduced;
  if (units < 16 && innerReduced * innerKept >= 1 << 17) {
    const wanted = Math.min(Math.ceil(32 / units), Math.floor((innerReduced * innerKept) / (1 << 16)));
    piece = Math.ceil(innerReduced / wanted / unit) * unit;
    pieces = Math.ceil(innerReduced / piece);
  }
  return {
    rows,
    kept,
    keptSize,
    reduced,
    reducedSize: product(reduced),
    innerReduced,
    innerKept,
    pieces,
    piece,
    items: units * pieces,
  };
}
