import { type DType, dtypeBytes, type KernelGroup, type Operand } from "@lowrank/tensor/backend";
import {
  MATMUL_F64,
  MATMUL_NARROW,
  MATMUL_PACK_B,
  MATMUL_ROWS,
  MATMUL_THIN,
  MATMUL_TILES,
  MATMUL_ZERO,
} from "../../assembly/ids.js";
import {
  type ArgWord,
  DTYPE_IDS,
  chunksOf,
  type EmitContext,
  type Fixup,
  type Kernel,
  operandAt,
} from "../emit.js";
import { emitEpilogue, type Epilogue } from "../emit-loop.js";
import { readsAlong } from "../emit-loop-space.js";

// Flags of assembly/matmul.ts.
const PREPACKED = 1;
const DIRECT = 2;
const FUSED = 4;
const ADDED = 8;
const JOINED = 16;

/** Depth of a packed block: a panel of 8 columns is 8 KiB and stays in the first cache. */
const DEPTH = 256;
/** Widest product whose left operand is not packed: packing would cost as much as multiplying. */
const DIRECT_COLUMNS = 32;
/** The same where k is not the contiguous axis of the left operand. */
const DIRECT_STRIDED_COLUMNS = 8;
/** Up to so many rows are added up from rows of the right operand that are read where they are. */
const SWEPT_ROWS = 16;
/** Columns of them that stay in the first cache. */
const SWEPT_COLUMNS = 512;
/** Even parts that threads share, none narrower than SWEPT_WORTH: narrow ones jump through memory. */
const SWEPT_SHARES = 4;
const SWEPT_WORTH = 128;
/** Up to so many rows a product is done row by row with dot products. */
const THIN_ROWS = 3;
/** Multiply-adds worth waking a thread for, some 40 µs. */
const CHUNK_WORK = 1 << 20;
/** Bytes of the right operand packed at once, unless it is very deep: they stay in the last cache. */
const PACKED_BYTES = 8 << 20;
/** Most depth of a product that another takes along in its last block. */
const JOINED_DEPTH = 64;
/** Columns of a deep product that are packed at once: the depth is then cut, not the width. */
const DEEP_COLUMNS = 1024;
/** Bytes that a tile spills at its edges, at the start of the scratch. */
const SPILL_BYTES = 128;
/** Bytes of a part of the result that an epilogue finds in the second cache. */
const PART_BYTES = 400 << 10;
/** Multiply-adds in the time of a nanosecond. */
const WORK_PER_NS = 25;
/** For questions about shapes alone. */
const NOWHERE = 0 as unknown as Fixup;

/** One product C = A B of a batch, with strides in elements. */
export interface Product {
  M: number;
  N: number;
  K: number;
  a: Fixup;
  b: Fixup;
  /** Unused where there is an epilogue, unless there are sums. */
  c: Fixup;
  /** Whether the product is added to sums that lie at c. */
  added?: boolean;
  epilogue?: Epilogue | undefined;
  /** A product of the same shape and of little depth, which is added. */
  joined?: Product | undefined;
  /** Element of the result at which this product begins, for the epilogue. */
  first?: number;
  rowA: number;
  stepA: number;
  stepB: number;
  columnB: number;
  rowC: number;
  columnC: number;
  dtypeA: DType;
  dtypeB: DType;
  batch: readonly BatchAxis[];
}

interface BatchAxis {
  size: number;
  a: number;
  b: number;
  c: number;
}

export const matrices = (p: Product): number => p.batch.reduce((count, axis) => count * axis.size, 1);
const ceilTo = (value: number, step: number): number => Math.ceil(value / step) * step;

/** Products of matrices: packed tiles, rows read in place where the result is narrow, and dot products for one row. */
export const matmulKernel: Kernel = {
  layout: () => "any",
  widens: () => true,
  joins(group, other) {
    if (group.op !== other.op || group.inputs.length + other.inputs.length !== 4) return false;
    const [p, q] = [group, other].map((g) => foldBatch(productOf(g, null, NOWHERE))) as [Product, Product];
    if (p.M !== q.M || p.N !== q.N || p.batch.length + q.batch.length > 0) return false;
    if (q.K === 0 || q.K > JOINED_DEPTH || p.K <= q.K) return false;
    return group.outputs[0]!.dtype === "f32" && isShared(p) && p.N > DIRECT_COLUMNS;
  },
  fusesEpilogue(group, loop) {
    const p = foldBatch(productOf(group, null, NOWHERE));
    return group.outputs[0]!.dtype !== "f64" && p.K > 0 && !isThin(p) && readsAlong(loop);
  },
  emit(group, ctx) {
    const out = group.outputs[0]!;
    if (out.size === 0) return;
    if (group.epilogue) {
      emitF32({ ...productOf(group, ctx, NOWHERE), epilogue: emitEpilogue(group.epilogue, ctx) }, ctx);
      return;
    }
    const half = out.dtype === "f16" || out.dtype === "bf16";
    const inF32 = half ? ctx.workspace(out.size * 4) : ctx.pointer(out);
    const product = productOf(group, ctx, inF32);
    if (product.K === 0) {
      ctx.command(MATMUL_ZERO, [out.size * dtypeBytes(out.dtype), ctx.pointer(out)], 1);
      return;
    }
    if (out.dtype === "f64") {
      emitF64(product, ctx);
      return;
    }
    emitF32(product, ctx);
    if (half) {
      const args = [inF32, ctx.pointer(out), out.size, DTYPE_IDS[out.dtype]];
      ctx.command(MATMUL_NARROW, args, chunksOf(out.size, 1 << 16));
    }
  },
};

/** The product of a group, with what is joined to it; without a context, its shape alone. */
export function productOf(group: KernelGroup, ctx: EmitContext | null, c: Fixup): Product {
  const p = productAt(group, 0, ctx, c);
  return group.inputs.length > 2 ? { ...p, joined: foldBatch(productAt(group, 2, ctx, c)) } : p;
}

function productAt(group: KernelGroup, index: number, ctx: EmitContext | null, c: Fixup): Product {
  const a = operandAt(group, index);
  const b = operandAt(group, index + 1);
  const rank = a.dims.length;
  const [M, K, N] = [a.dims[rank - 2]!, a.dims[rank - 1]!, b.dims[rank - 1]!];
  return {
    M,
    N,
    K,
    a: ctx?.pointer(a) ?? NOWHERE,
    b: ctx?.pointer(b) ?? NOWHERE,
    c,
    rowA: a.strides[rank - 2]!,
    stepA: a.strides[rank - 1]!,
    stepB: b.strides[rank - 2]!,
    columnB: b.strides[rank - 1]!,
    rowC: N,
    columnC: 1,
    dtypeA: a.dtype,
    dtypeB: b.dtype,
    batch: mergeBatch(a, b, M * N),
  };
}

/** The batch axes, neighbours merged where both operands allow it. */
function mergeBatch(a: Operand, b: Operand, matrixSize: number): BatchAxis[] {
  const merged: BatchAxis[] = [];
  let c = matrixSize;
  for (let axis = a.dims.length - 3; axis >= 0; axis--) {
    const size = a.dims[axis]!;
    const [strideA, strideB] = [a.strides[axis]!, b.strides[axis]!];
    const inner = merged[0];
    if (size !== 1) {
      if (inner && strideA === inner.a * inner.size && strideB === inner.b * inner.size) inner.size *= size;
      else merged.unshift({ size, a: strideA, b: strideB, c });
    }
    c *= size;
  }
  return merged;
}

/** A batch whose matrices lie below each other and share B is one tall matrix. */
export function foldBatch(p: Product): Product {
  if (p.batch.length !== 1 || p.columnC !== 1) return p;
  const { size, a, b, c } = p.batch[0]!;
  if (b !== 0 || c !== p.M * p.rowC || (a !== p.M * p.rowA && p.M !== 1)) return p;
  return { ...p, M: p.M * size, rowA: p.M === 1 ? a : p.rowA, batch: [] };
}

/** Cᵀ = Bᵀ Aᵀ. */
export const transposed = (p: Product): Product => ({
  ...p,
  M: p.N,
  N: p.M,
  a: p.b,
  b: p.a,
  rowA: p.columnB,
  stepA: p.stepB,
  stepB: p.stepA,
  columnB: p.rowA,
  rowC: p.columnC,
  columnC: p.rowC,
  dtypeA: p.dtypeB,
  dtypeB: p.dtypeA,
  batch: p.batch.map(({ size, a, b, c }) => ({ size, a: b, b: a, c })),
});

interface Blocking {
  rows: number;
  columns: number;
  depth: number;
  flags: number;
}

/** Bytes of a part of the result in front of the rest of the scratch, where an epilogue takes it from. */
const partBytes = (p: Product, rows: number, columns: number): number =>
  p.epilogue ? ceilTo(ceilTo(rows, 4) * ceilTo(columns, 8) * 4 + 64, 64) : 0;

/** Asks for scratch: the part, then what the product or, after it, the epilogue needs. */
function askScratch(p: Product, rows: number, columns: number, bytes: number, ctx: EmitContext): void {
  ctx.scratch(partBytes(p, rows, columns) + Math.max(bytes, p.epilogue?.scratchBytes ?? 0));
}

/** Multiply-adds that a product with its epilogue takes the time of. */
const workOf = (p: Product): number =>
  matrices(p) * p.M * p.N * (p.K + (p.epilogue ? p.epilogue.cost * WORK_PER_NS : 0));

function words(p: Product, { rows, columns, depth, flags }: Blocking): ArgWord[] {
  // biome-ignore format: in the order of the words
  return [
    p.a, p.b, p.c, p.M, p.N, p.K, p.rowA, p.stepA, p.stepB, p.columnB,
    DTYPE_IDS[p.dtypeA], DTYPE_IDS[p.dtypeB], rows, columns, depth, flags, p.rowC, p.columnC,
    matrices(p), p.batch.length, ...p.batch.flatMap(({ size, a, b, c }) => [size, a, b, c]),
    ...(p.epilogue ?? p.joined ? [p.epilogue?.args ?? 0, p.first ?? 0, partBytes(p, rows, columns)] : []),
    ...(p.joined ? [p.joined.a, p.joined.K, p.joined.rowA, p.joined.stepA, DTYPE_IDS[p.joined.dtypeA]] : []),
  ];
}

function emitF64(p: Product, ctx: EmitContext): void {
  const blocking = { rows: 64, columns: 64, depth: Math.min(p.K, DEPTH), flags: 0 };
  const units = matrices(p) * Math.ceil(p.M / blocking.rows) * Math.ceil(p.N / blocking.columns);
  ctx.scratch(SPILL_BYTES + (blocking.rows + blocking.columns) * blocking.depth * 8);
  const work = matrices(p) * p.M * p.N * p.K;
  ctx.command(MATMUL_F64, words(p, blocking), Math.min(units, chunksOf(work, CHUNK_WORK / 2, 256)));
}

function emitF32(given: Product, ctx: EmitContext): void {
  let p = foldBatch(given);
  const swept = [p, transposed(p)].find(isSwept);
  if (swept) {
    emitRows(swept, ctx);
    return;
  }
  if (isThin(p)) {
    emitThin(p.M <= p.N ? p : transposed(p), ctx);
    return;
  }
  // The narrow side goes to the right, where it is packed; the long side is then read once, in place if it is f32.
  if (p.M < p.N && p.M <= DIRECT_COLUMNS) p = transposed(p);
  if (p.N <= (p.stepA === 1 ? DIRECT_COLUMNS : DIRECT_STRIDED_COLUMNS) && p.dtypeA === "f32")
    emitNarrow(p, ctx);
  else emitBlocked(p, ctx);
}

/** Few rows by a right operand whose rows are contiguous and not short. */
const isSwept = (p: Product): boolean =>
  p.M > 1 && p.M <= SWEPT_ROWS && p.N >= 32 && p.columnB === 1 && p.dtypeA === "f32" && p.dtypeB === "f32";

const isThin = (p: Product): boolean =>
  Math.min(p.M, p.N) <= THIN_ROWS && !isSwept(p) && !isSwept(transposed(p));

function emitRows(p: Product, ctx: EmitContext): void {
  const shares = Math.min(SWEPT_SHARES, chunksOf(workOf(p), CHUNK_WORK), Math.floor(p.N / SWEPT_WORTH));
  const columns = ceilTo(p.N / Math.max(Math.ceil(p.N / SWEPT_COLUMNS), shares), 16);
  const units = matrices(p) * Math.ceil(p.N / columns);
  askScratch(p, p.M, columns, (p.M + 1) * columns * 4, ctx);
  const flags = p.epilogue ? FUSED : 0;
  const blocking = { rows: p.M, columns, depth: p.K, flags };
  ctx.command(MATMUL_ROWS, words(p, blocking), Math.min(units, chunksOf(workOf(p), CHUNK_WORK)));
}

function emitThin(given: Product, ctx: EmitContext): void {
  const rows = { size: given.M, a: given.rowA, b: 0, c: given.rowC };
  const p = given.M === 1 ? given : { ...given, M: 1, batch: [...given.batch, rows] };
  // A quarter MiB of B: the rows that share it find it in the second cache. One row walks on for longer. Whole vectors,
  // except in the last block.
  const columns = Math.min(p.N, ceilTo(Math.max(32, (matrices(p) > 1 ? 1 << 16 : 1 << 18) / p.K), 32));
  const units = matrices(p) * Math.ceil(p.N / columns);
  // The row, and the row scaled for f16.
  ctx.scratch(p.K * 8 + 16);
  const chunks = chunksOf(matrices(p) * p.N * p.K, CHUNK_WORK / 8);
  ctx.command(MATMUL_THIN, words(p, { rows: 1, columns, depth: p.K, flags: 0 }), Math.min(units, chunks));
}

/** A block of k: whole if it is not much over the usual depth, else even parts of it. */
function depthOf(K: number): number {
  const blocks = Math.max(1, Math.round(K / DEPTH));
  return ceilTo(K / blocks, 4);
}

/** Rows of a block, so that a chunk has its due of work and there are enough of them to share. */
function rowsFor(p: Product, columns: number): number {
  const due = ceilTo(Math.max(32, CHUNK_WORK / (columns * p.K)), 4);
  const share = ceilTo(p.M / 8, 4);
  return Math.min(ceilTo(p.M, 4), Math.max(due, Math.min(192, share)));
}

/** The same for a narrow product, whose part of the result is to stay in the second cache. */
function narrowRowsFor(p: Product): number {
  const rows = rowsFor(p, p.N);
  return p.epilogue ? Math.min(rows, Math.max(32, ceilTo(PART_BYTES / (p.N * 4), 4))) : rows;
}

function emitNarrow(p: Product, ctx: EmitContext): void {
  const depth = depthOf(p.K);
  const rows = narrowRowsFor(p);
  askScratch(p, rows, p.N, SPILL_BYTES + depth * ceilTo(p.N, 8) * 4, ctx);
  emitTiles(p, { rows, columns: p.N, depth, flags: DIRECT }, ctx);
}

/** Whether so many rows share the right operand that it is packed once for all. */
const isShared = (p: Product): boolean => p.M > 128 && p.batch.every((axis) => axis.b === 0);

function emitBlocked(p: Product, ctx: EmitContext): void {
  const depth = depthOf(p.K);
  if (isShared(p)) {
    emitDeep(p, ctx);
    return;
  }
  // Few rows, or a B of its own for each matrix: each block packs what it needs.
  const rows = Math.min(128, ceilTo(p.M, 4));
  const share = matrices(p) * Math.ceil(p.M / rows) >= 8 ? 512 : Math.max(64, ceilTo(p.N / 8, 8));
  const columns = Math.min(512, share, ceilTo(p.N, 8));
  askScratch(p, rows, columns, SPILL_BYTES + (rows + columns) * depth * 4, ctx);
  emitTiles(p, { rows, columns, depth, flags: 0 }, ctx);
}

/** A product whose depth is cut where only few columns of all of B would fit: all but the last part are sums at c. */
function emitDeep(p: Product, ctx: EmitContext): void {
  const most = Math.max(DEPTH, Math.floor(PACKED_BYTES / (4 * Math.min(p.N, DEEP_COLUMNS) * DEPTH)) * DEPTH);
  const depth = p.K < 2 * most ? p.K : ceilTo(p.K / Math.ceil(p.K / most), DEPTH);
  const packed = ctx.workspace(Math.max(...[depth, p.K % depth].map((K) => packedBytes({ ...p, K }))));
  const c = p.epilogue && depth < p.K ? ctx.workspace(matrices(p) * p.M * p.N * 4) : p.c;
  for (let k = 0; k < p.K; k += depth) {
    const a = ctx.offset(p.a, k * p.stepA * dtypeBytes(p.dtypeA));
    const part: Product = { ...p, a, c, K: Math.min(depth, p.K - k), added: k > 0 };
    if (k + depth < p.K) part.epilogue = part.joined = undefined;
    const { joined } = part;
    const b = ctx.offset(p.b, k * p.stepB * dtypeBytes(p.dtypeB));
    const pack: PackPanels = (column, columns, block) => {
      packColumns({ ...part, b }, column, columns, packed, [block, 0, joined?.K ?? 0], ctx);
      if (!joined) return;
      const last = part.K - ((part.K - 1) % block) - 1;
      const to = ctx.offset(packed, last * ceilTo(columns, 8) * 4);
      packColumns(joined, column, columns, to, [joined.K, part.K - last, 0], ctx);
    };
    emitPacked(part, ctx, pack, packed);
  }
}

/** @param depths of a block, in front of each, and left free behind the last */
function packColumns(
  { K, b, stepB, columnB, dtypeB }: Product,
  column: number,
  columns: number,
  packed: Fixup,
  depths: readonly [number, number, number],
  ctx: EmitContext,
): void {
  const from = ctx.offset(b, column * columnB * dtypeBytes(dtypeB));
  ctx.command(
    MATMUL_PACK_B,
    [from, packed, K, columns, stepB, columnB, DTYPE_IDS[dtypeB], ...depths],
    Math.min(Math.ceil(columns / 8), chunksOf(K * columns, 1 << 16)),
  );
}

/** Columns of B that are packed at once. */
function packedWidth({ N, K }: Product): number {
  const most = Math.max(512, Math.floor(PACKED_BYTES / (K * 4)) & ~7);
  return ceilTo(N / Math.ceil(N / most), 8);
}

const packedBytes = (p: Product): number => packedWidth(p) * (p.K + (p.joined?.K ?? 0)) * 4;

/** Packs panels of `columns` columns of B from `column` on, in blocks of `depth` over k. */
export type PackPanels = (column: number, columns: number, depth: number, packed: Fixup) => void;

/** A product whose right operand is packed a part at a time, each shared by all blocks of rows. */
export function emitPacked(
  p: Product,
  ctx: EmitContext,
  pack: PackPanels,
  packed = ctx.workspace(packedBytes(p)),
): void {
  const depth = depthOf(p.K);
  const width = packedWidth(p);
  for (let column = 0; column < p.N; column += width) {
    const N = Math.min(width, p.N - column);
    pack(column, N, depth, packed);
    const first = column * p.columnC;
    const part = { ...p, N, b: packed, first, c: p.c === NOWHERE ? p.c : ctx.offset(p.c, first * 4) };
    const rows = rowsFor(part, N);
    // Few rows are one block: then the columns are shared out. Parts for an epilogue are made narrow, not flat: each block of
    // rows reads all of B, and even ones take threads the same time.
    const share = rows < p.M ? N : Math.max(64, N / 8);
    const parts = p.epilogue ? Math.ceil((rows * share * 4) / PART_BYTES) : 1;
    const columns = Math.min(ceilTo(N, 8), ceilTo(share / parts, 8));
    askScratch(part, rows, columns, SPILL_BYTES + rows * (depth + (p.joined?.K ?? 0)) * 4, ctx);
    emitTiles(part, { rows, columns, depth, flags: PREPACKED }, ctx);
  }
}

function emitTiles(p: Product, blocking: Blocking, ctx: EmitContext): void {
  const units = matrices(p) * Math.ceil(p.M / blocking.rows) * Math.ceil(p.N / blocking.columns);
  const flags = blocking.flags | (p.epilogue ? FUSED : 0) | (p.added ? ADDED : 0) | (p.joined ? JOINED : 0);
  const chunks = Math.min(units, chunksOf(workOf(p), CHUNK_WORK, 256));
  ctx.command(MATMUL_TILES, words(p, { ...blocking, flags }), chunks);
}
