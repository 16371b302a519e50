import type { Load, LoopGroup } from "@lowrank/tensor/backend";
import { TILE_ROWS } from "../assembly/loop-ops.js";

/** Runs shorter than this are cheaper to copy together than to visit one by one. */
const SHORT_RUN = 128;
/** The same for runs that need tiles. */
const SHORT_TILE = 32;

/** How a map is walked. */
export interface MapSpace {
  readonly rows: number;
  readonly row: number;
  /** Rows visited together, and rows after which such groups begin anew. */
  readonly together: number;
  readonly run: number;
  /** Loads that are fetched in tiles of `together` rows. */
  readonly tiled: readonly number[];
  /** Independent units of work. */
  readonly blocks: number;
}

/**
 * Rows of a map that no block crosses, so that loads that repeat or lie side by side within a row need no copy; and the
 * number of blocks.
 */
export function splitMap(group: LoopGroup, size: number, block: number): MapSpace {
  const views = group.loads.map((load) =>
    load.kind === "value" ? mergeAxes(group.space, load.strides) : [],
  );
  const turned = views.map((axes, i) => isTurned(axes) && tiles(group.loads[i]!));
  let row = size;
  views.forEach((axes, i) => {
    const inner = axes.at(-1)?.[0] ?? size;
    if (inner >= (turned[i] ? SHORT_TILE : SHORT_RUN) && inner < row) row = inner;
  });
  const rows = size / row;
  const tiled = group.loads.map((_, i) => i).filter((i) => turned[i] && views[i]!.at(-1)![0] === row);
  // Groups of rows stay within the axis along which the first of the tiles lies side by side.
  const run = tiled.length ? views[tiled[0]!]!.at(-2)![0] : rows;
  const fitting = tiled.filter((i) => views[i]!.at(-2)![0] === run);
  const together = fitting.length ? TILE_ROWS : 1;
  const groups = (rows / run) * Math.ceil(run / together);
  return { rows, row, together, run, tiled: fitting, blocks: groups * Math.ceil(row / block) };
}

/** (size, stride) of the axes of a load, merged where its strides allow. */
export function mergeAxes(
  space: readonly number[],
  strides: readonly number[],
): [size: number, stride: number][] {
  const axes: [size: number, stride: number][] = [];
  space.forEach((size, d) => {
    if (size === 1) return;
    const stride = strides[d]!;
    const outer = axes.at(-1);
    if (outer && outer[1] === stride * size) axes.splice(-1, 1, [outer[0] * size, stride]);
    else axes.push([size, stride]);
  });
  return axes;
}

/** Whether all loads of a loop stay or go on to the next element along its rows, so that none is better read in tiles. */
export const readsAlong = ({ space, loads }: LoopGroup): boolean =>
  loads.every((load) => {
    const inner = load.kind === "value" ? mergeAxes(space, load.strides).at(-1)?.[1] : 0;
    return inner === undefined || inner === 0 || inner === 1;
  });

/** Side by side across rows, and far apart along them. */
function isTurned(axes: readonly (readonly [number, number])[]): boolean {
  const [inner, outer] = [axes.at(-1), axes.at(-2)];
  return !!inner && !!outer && Math.abs(inner[1]) >= TILE_ROWS && outer[1] === 1 && outer[0] >= 4;
}

const tiles = (load: Load): boolean => load.kind === "value" && load.value.dtype !== "f64";

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
  /** Columns: rows in a block. Rows: how many are visited together, and the number after which such groups begin anew. */
  readonly together: number;
  readonly run: number;
  /** Whether the rows of a group are kept. */
  readonly groupKept: boolean;
  /** Loads that are fetched in tiles. */
  readonly tiled: readonly number[];
  /** Independent units of work. */
  readonly items: number;
}

const product = (axes: readonly (readonly [number, number])[]): number =>
  axes.reduce((n, [size]) => n * size, 1);

/**
 * The two innermost axes, if there is a load that lies side by side along the outer of them: then rows of the inner one are
 * visited in groups, for which the load is fetched in tiles.
 */
export function tilesOf(group: LoopGroup): { inner: number; outer: number; tiled: readonly number[] } | null {
  const views = group.loads.map((load) =>
    load.kind === "value" && tiles(load) ? mergeAxes(group.space, load.strides) : [],
  );
  const first = views.find((axes) => isTurned(axes) && axes.at(-1)![0] >= SHORT_TILE);
  if (!first) return null;
  const [outer, inner] = [first.at(-2)![0], first.at(-1)![0]];
  const fits = (axes: readonly (readonly [number, number])[]) =>
    isTurned(axes) && axes.at(-1)![0] === inner && axes.at(-2)![0] === outer;
  return { inner, outer, tiled: views.flatMap((axes, i) => (fits(axes) ? [i] : [])) };
}

export function reducedSpace(group: LoopGroup, block: number): ReducedSpace {
  const wanted = tilesOf(group);
  const axes: { size: number; reduced: boolean; step: number }[] = [];
  let step = 1;
  for (let d = group.space.length - 1; d >= 0; d--) {
    const size = group.space[d]!;
    if (size === 1) continue;
    const inner = axes[0];
    const reduced = group.reduced[d]!;
    // the two axes of tiles stay apart
    const whole =
      (axes.length === 1 && reduced && inner?.size === wanted?.inner) ||
      (axes.length === 2 && axes[1]!.size === wanted?.inner && inner?.size === wanted.outer);
    if (inner && inner.reduced === reduced && !whole) inner.size *= size;
    else axes.unshift({ size, reduced, step });
    step *= size;
  }
  if (!axes.some((axis) => axis.reduced)) axes.push({ size: 1, reduced: true, step: 1 });
  const rows = axes.at(-1)!.reduced;
  const tiled =
    wanted && axes.at(-1)!.size === wanted.inner && axes.at(-2)?.size === wanted.outer ? wanted.tiled : [];
  const groupKept = rows && tiled.length > 0 && !axes.at(-2)!.reduced;
  const innerKept = rows ? 1 : axes.pop()!.size;
  const innerReduced = axes.pop()!.size;
  const list = (reduced: boolean) =>
    axes.filter((axis) => axis.reduced === reduced).map(({ size, step }) => [size, step] as const);
  const [kept, reduced] = [list(false), list(true)];
  const keptSize = product(kept);
  const grouped = tiled.length > 0 && rows;
  const run = grouped ? wanted!.outer : 1;
  const together = grouped
    ? TILE_ROWS
    : tiled.length > 0 || rows
      ? 1
      : Math.max(1, Math.floor(block / innerKept));
  const segments = Math.ceil(innerKept / block);
  // Pieces by shape alone, never by threads: the same bits on any machine.
  const units = (groupKept ? (keptSize / run) * Math.ceil(run / together) : keptSize) * segments;
  const unit = rows ? block : together;
  let pieces = 1;
  let piece = innerReduced;
  if (units < 16 && innerReduced * innerKept >= 1 << 17) {
    const most = Math.min(Math.ceil(32 / units), Math.floor((innerReduced * innerKept) / (1 << 16)));
    piece = Math.ceil(innerReduced / most / unit) * unit;
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
    together,
    run,
    groupKept,
    tiled,
    items: units * pieces,
  };
}
