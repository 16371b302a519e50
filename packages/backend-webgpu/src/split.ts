import {
  bug,
  type DType,
  dtypeBytes,
  type Group,
  type Load,
  type LoopGroup,
  type Operand,
  type Reduction,
  sizeOf,
  type Value,
} from "@lowrank/tensor/backend";
import { splitKernel } from "./split-kernels.js";

/** Bindings begin at multiples of this many bytes; so do ranges that begin at multiples of as many elements. */
export const STEP = 256;

/** What groups are split for, and where partial results go. */
export interface SplitContext {
  /** Most bytes that a shader may see of one tensor. */
  readonly limit: number;
  /** Memory for the pieces of one group. */
  temporary(like: Value, dtype: DType, dims: readonly number[]): Value;
}

/**
 * A group whose tensors are larger than a shader may see, as groups that each see a range of them: rows of a loop, of a
 * product, of a softmax; segments of a table. What can not be split comes back as it was, and is refused where it is bound.
 */
export function split(group: Group, ctx: SplitContext): Group[] {
  if (fits(group, ctx.limit)) return [group];
  const pieces = group.kind === "loop" ? splitLoop(group, ctx) : splitKernel(group, ctx);
  return pieces ? pieces.flatMap((piece) => split(piece, ctx)) : [group];
}

function fits(group: Group, limit: number): boolean {
  const small = (value: Value): boolean => value.home.kind === "none" || bytesOf(value) <= limit;
  if (group.kind === "loop") {
    return (
      group.loads.every((load) => load.kind !== "value" || small(load.value)) &&
      [...group.stores, ...group.reductions].every(({ value }) => small(value))
    );
  }
  return (
    group.inputs.every((input) => !("value" in input) || small(input.value)) &&
    group.outputs.every(small) &&
    (!group.epilogue || fits(group.epilogue, limit))
  );
}

export const bytesOf = ({ size, dtype }: Value): number => size * dtypeBytes(dtype);

/** Elements [from, from + size) of a value, as a value by itself, which begins at a multiple of STEP bytes. */
export function partOf(value: Value, from: number, size: number, dims: readonly number[] = [size]): Value {
  const offset = from * dtypeBytes(value.dtype);
  if (offset % STEP !== 0) bug("a part of a tensor begins within a step");
  const { home } = value;
  if (home.kind === "none") return bug("a part of a tensor without memory");
  // Homes of leaves and roots have no offset but for parts: `placeOf` reads it.
  const start = (home as { offset?: number }).offset ?? 0;
  return { ...value, dims, size, home: { ...home, offset: start + offset } as Value["home"] };
}

/** An operand that sees only the elements it reaches. */
export function narrow(operand: Operand, dims: readonly number[], moved: number): Operand {
  const { value, strides } = operand;
  const [low, high] = reach(dims, strides, operand.offset + moved);
  const from = low - (low % STEP);
  const part = partOf(value, from, Math.min(value.size, Math.ceil((high + 1) / 16) * 16) - from);
  return { ...operand, dims, value: part, offset: operand.offset + moved - from };
}

/** The first and the last element that a view reaches. */
export function reach(dims: readonly number[], strides: readonly number[], offset: number): [number, number] {
  let [low, high] = [offset, offset];
  dims.forEach((n, d) => {
    const span = (n - 1) * strides[d]!;
    if (span < 0) low += span;
    else high += span;
  });
  return [low, high];
}

/** Rows of so many elements that go together so that they fill whole steps: a power of two. */
export function rowStep(perRow: number, dtype: DType): number {
  let [a, b] = [perRow * dtypeBytes(dtype), STEP];
  while (b > 0) [a, b] = [b, a % b];
  return STEP / a;
}

/** Ranges of `count` from 0 to `total`; undefined unless there are several. */
export const ranges = (total: number, count: number): [first: number, n: number][] | undefined =>
  count > 0 && count < total
    ? Array.from({ length: Math.ceil(total / count) }, (_, i) => [
        i * count,
        Math.min(count, total - i * count),
      ])
    : undefined;

/** A loop by ranges of its first axis; if that is reduced, ranges give partial results, which a last loop joins. */
function splitLoop(loop: LoopGroup, ctx: SplitContext): LoopGroup[] | undefined {
  const axis = loop.space.findIndex((n) => n > 1);
  if (axis < 0) return undefined;
  const rows = loop.space[axis]!;
  const joins = loop.reduced[axis]! && loop.reductions.length > 0;
  const inner = sizeOf(loop.space.slice(axis + 1));
  const kept = sizeOf(loop.space.filter((_, d) => d !== axis && !loop.reduced[d]));
  const step = Math.max(
    1,
    ...loop.stores.map(({ value }) => rowStep(inner, value.dtype)),
    ...loop.reductions.map(({ value }) => (joins ? 1 : rowStep(kept, value.dtype))),
  );
  const count = rowsWithin(loop, axis, step, kept, joins, ctx.limit);
  const parts = ranges(rows, joins && count < 2 ? 0 : count);
  if (!parts) return undefined;
  const width = Math.ceil(kept / STEP) * STEP; // a row of partial results
  const partials = joins
    ? loop.reductions.map((r) => ctx.temporary(r.value, partialDType(r), [parts.length, width]))
    : [];
  const pieces = parts.map(
    ([first, n], p): LoopGroup => ({
      ...rangeOf(loop, axis, first, n, inner),
      reductions: loop.reductions.map((r, i) => ({
        ...r,
        value: joins ? partOf(partials[i]!, p * width, kept) : partOf(r.value, first * kept, n * kept),
      })),
    }),
  );
  return [...pieces, ...partials.map((part, i) => joinOf(loop.reductions[i]!, part, kept))];
}

/** Rows of the axis, a multiple of `step`, for which every tensor stays within the limit; 0 if there are none. */
function rowsWithin(
  loop: LoopGroup,
  axis: number,
  step: number,
  kept: number,
  joins: boolean,
  limit: number,
): number {
  const largest = (n: number): number => {
    const piece = rangeOf(loop, axis, 0, n, sizeOf(loop.space.slice(axis + 1)));
    const loads = piece.loads.map((load) => {
      if (load.kind !== "value") return 0;
      const [low, high] = reach(piece.space, load.strides, load.offset);
      return Math.min(load.value.size, high - low + 1 + STEP) * dtypeBytes(load.value.dtype);
    });
    const results = loop.reductions.map((r) => (joins ? kept : n * kept) * dtypeBytes(r.value.dtype));
    return Math.max(...loads, ...piece.stores.map(({ value }) => bytesOf(value)), ...results);
  };
  let [low, high] = [0, Math.ceil(loop.space[axis]! / step)]; // low fits, high does not
  while (high - low > 1) {
    const middle = (low + high) >> 1;
    if (largest(Math.min(loop.space[axis]!, middle * step)) <= limit) low = middle;
    else high = middle;
  }
  return low * step;
}

/** The loop over `n` rows of an axis, without its reductions. Values that it reads in several places stay one binding. */
function rangeOf(loop: LoopGroup, axis: number, first: number, n: number, inner: number): LoopGroup {
  const space = loop.space.with(axis, n);
  const ranges = new Map<Value, [number, number]>();
  for (const load of loop.loads) {
    if (load.kind !== "value") continue;
    const [low, high] = reach(space, load.strides, load.offset + first * load.strides[axis]!);
    const [a, b] = ranges.get(load.value) ?? [low, high];
    ranges.set(load.value, [Math.min(a, low), Math.max(b, high)]);
  }
  const loads = loop.loads.map((load): Load => {
    if (load.kind === "scalar") return load;
    const offset = load.offset + first * load.strides[axis]!;
    if (load.kind === "iota") return { ...load, offset };
    const [low, high] = ranges.get(load.value)!;
    const from = low - (low % STEP);
    const size = Math.min(load.value.size, Math.ceil((high + 1) / 16) * 16) - from;
    return { ...load, value: partOf(load.value, from, size), offset: offset - from };
  });
  const stores = loop.stores.map((s) => ({ ...s, value: partOf(s.value, first * inner, n * inner) }));
  return { ...loop, space, loads, stores, reductions: [] };
}

const partialDType = ({ dtype, value }: Reduction): DType => {
  if (value.dtype === "bool") return "bool";
  return dtype === "i32" || dtype === "u32" ? dtype : dtype === "i8" || dtype === "u8" ? "i32" : "f32";
};

/** The loop that joins partial results [parts, width], of which each row holds `kept`. */
export function joinOf(
  r: Pick<Reduction, "op" | "dtype" | "value">,
  partial: Value,
  kept: number,
): LoopGroup {
  const [parts, width] = partial.dims as [number, number];
  return {
    kind: "loop",
    name: `${r.op} of ranges`,
    space: [parts, kept],
    reduced: [true, false],
    loads: [{ kind: "value", value: partial, offset: 0, strides: [width, 1] }],
    code: [],
    stores: [],
    reductions: [{ op: r.op, register: 0, dtype: r.dtype, value: r.value }],
  };
}
