import {
  callHost,
  chunksOf,
  type EmitContext,
  foldBatch,
  type Product,
  productOf,
  transposed,
} from "@lowrank/backend-wasm/host";
import { dtypeBytes, type KernelGroup } from "@lowrank/tensor/backend";
import { GEMM } from "./thread.js";

/**
 * What pays, measured with OpenBLAS 0.3.21 (AVX-512) against the kernels of WebAssembly on one thread, both in f32:
 *
 *     16³ 0.96   32³ 1.03   48³ 1.35   64³ 1.7   128³ 1.9   256³ 2.7   512³ 2.3 times as fast
 *     one row by 64² 0.9, by 256² 2, by 1,024² 2.4 (gemv); 2 to 7 rows by 256² 1.1 to 1.5, by 1,024² 0.4 to 0.6
 *     8 rows by 1,024² 1.2; 512 x 4 x 512 2.2
 *
 * A few rows by a matrix that is in no cache are bound by memory, and the library copies the matrix before it multiplies.
 */
const LEAST_WORK = 1 << 15;
const LEAST_WORK_OF_ROW = 1 << 13;
const FEW_ROWS = 8;
const CACHED = 1 << 18;
/**
 * Rows and columns of a part of a product that one thread takes, where parts have other bits than the whole: the library packs
 * its operands anew for each. A product of 512³ in 2 parts takes 1.05 times as long on one thread as in one, in 4 parts 1.12, in
 * 8 parts 1.2; one of 2,048³ in 4 parts 1.07, in 16 parts 2.
 */
const PART = 1024;
/** Multiply-adds that are worth a part, about 0.1 ms. */
const PART_WORK = 1 << 23;
/** Multiply-adds of a chunk, some 40 µs, and numbers of the matrix where there is one row of a time. */
export const CHUNK_WORK = 1 << 22;
const CHUNK_NUMBERS = 1 << 18;
const NOWHERE = 0 as unknown as Product["c"];

/** How products may be cut. */
export interface Cut {
  /** Threads that there are. */
  readonly threads: number;
  /** Whether a product has the same bits however it is cut: then each thread gets one part. */
  readonly agree: readonly [f32: boolean, f64: boolean];
}

/** By shapes alone. */
export const BY_SHAPE: Cut = { threads: 0, agree: [false, false] };

/** A matrix as the library takes it: row-major or turned, with the distance of its rows or columns. */
export interface Layout {
  readonly turned: 0 | 1;
  readonly ld: number;
}

function layoutOf(rows: number, columns: number, row: number, step: number): Layout | null {
  if ((step === 1 || columns === 1) && (row >= columns || rows === 1))
    return { turned: 0, ld: Math.max(row, columns) };
  if ((row === 1 || rows === 1) && (step >= rows || columns === 1))
    return { turned: 1, ld: Math.max(step, rows) };
  return null;
}

export function layoutsOf(p: Product): { a: Layout; b: Layout } | null {
  // One row may have any step.
  const a =
    p.M === 1 ? p.stepA > 0 && ({ turned: 0, ld: p.stepA } as const) : layoutOf(p.M, p.K, p.rowA, p.stepA);
  const b = layoutOf(p.K, p.N, p.stepB, p.columnB);
  return a && b ? { a, b } : null;
}

/** Whether the library does it, and, unless `always`, does it faster. */
export function takesMatmul(group: KernelGroup, always: boolean): boolean {
  const { dtype, size } = group.outputs[0]!;
  if ((dtype !== "f32" && dtype !== "f64") || size === 0) return false;
  const p = shapeOf(group, null);
  if (p.dtypeA !== dtype || p.dtypeB !== dtype || p.K === 0 || !layoutsOf(p)) return false;
  const work = p.M * p.N * p.K;
  if (always) return true;
  if (p.M === 1) return work >= LEAST_WORK_OF_ROW;
  return work >= LEAST_WORK && (Math.min(p.M, p.N) >= FEW_ROWS || Math.max(p.M, p.N) * p.K <= CACHED);
}

/** A product as the library gets it: one column is a row by the transposed matrix. */
export function shapeOf(group: KernelGroup, ctx: EmitContext | null): Product {
  const p = foldBatch(productOf(group, ctx, ctx?.pointer(group.outputs[0]!) ?? NOWHERE));
  return p.N === 1 && p.M > 1 ? transposed(p) : p;
}

/** Number of even parts of about PART. */
const partsOf = (size: number): number => Math.max(1, Math.round(size / PART));

/** A product of matrices by the library. */
export function emitMatmul(group: KernelGroup, ctx: EmitContext, cut: Cut): void {
  const p = shapeOf(group, ctx);
  const { a, b } = layoutsOf(p)!;
  emitGemm({ ...p, bytes: dtypeBytes(p.dtypeA) }, a, b, ctx, cut);
}

interface Gemm extends Pick<Product, "M" | "N" | "K" | "a" | "b" | "c" | "rowC" | "batch"> {
  /** Bytes of a number. */
  readonly bytes: number;
}

/** Parts down and across one of the matrices of a product. */
function partsFor({ M, N, K, bytes }: Gemm, count: number, { threads, agree }: Cut): [number, number] {
  const worth = Math.floor((M * N * K) / PART_WORK);
  if (M === 1) return [1, chunksOf(N * K, CHUNK_NUMBERS, N)];
  if (!agree[bytes === 4 ? 0 : 1]) {
    const [down, across] = [partsOf(M), partsOf(N)];
    if (down * across > 1 || worth < 2) return [down, across];
    return M >= N ? [2, 1] : [1, 2];
  }
  const parts = Math.max(1, Math.min(Math.ceil(threads / count), worth));
  let best: [number, number] = [parts, 1];
  for (let across = 1; across <= parts; across++) {
    // What a part packs: its rows and its columns.
    const packs = (d: number, c: number): number => M / d + N / c;
    const down = parts / across;
    if (Number.isInteger(down) && packs(down, across) < packs(...best)) best = [down, across];
  }
  return best;
}

/** Appends the command for a product, cut into parts. */
export function emitGemm(p: Gemm, a: Layout, b: Layout, ctx: EmitContext, cut: Cut): void {
  const work = p.M * p.N * p.K;
  const count = p.batch.reduce((product, axis) => product * axis.size, 1);
  const [down, across] = partsFor(p, count, cut);
  const [rows, columns] = [Math.ceil(p.M / down), Math.ceil(p.N / across)];
  const units = count * Math.ceil(p.M / rows) * Math.ceil(p.N / columns);
  const chunks = Math.min(units, chunksOf(count * work, p.M === 1 ? CHUNK_NUMBERS : CHUNK_WORK, 256));
  // biome-ignore format: in the order of the words
  const words = [
    p.a, p.b, p.c, p.M, p.N, p.K, a.ld, b.ld, p.rowC, a.turned, b.turned, p.bytes, rows, columns, 0,
    count, p.batch.length, ...p.batch.flatMap((axis) => [axis.size, axis.a, axis.b, axis.c]),
  ];
  // A chunk is worth several of the embedded backend's.
  ctx.linked(callHost, GEMM, words, chunks, 8 * chunks);
}
