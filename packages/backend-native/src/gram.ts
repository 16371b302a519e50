// Products of a matrix by its own transpose, a aᵀ or aᵀ a: the half of them is computed, and turned over.
import {
  callHost,
  chunksOf,
  type EmitContext,
  operandAt,
  type Product,
  productOf,
} from "@lowrank/backend-wasm/host";
import { dtypeBytes, type KernelGroup } from "@lowrank/tensor/backend";
import type { Lapack } from "./lapack.js";
import { CHUNK_WORK, layoutsOf, takesMatmul } from "./matmul.js";
import { GRAM } from "./thread.js";

/**
 * Rows and depth from which it pays. With OpenBLAS 0.3.21 (AVX-512) in f32, times as fast as a product of two on one thread / two:
 *
 *     512 by 512 1.05 / 1   512 by 2,048 1.5 / 1.6   1,024 by 256 1.1 / 1.1   1,024 by 1,024 1.4 / 1.4   2,048 by 2,048 1.5 / 1.5
 *
 * 256 rows are one part, which takes longer than halves of the whole on two threads.
 */
const LEAST_ROWS = 512;
const LEAST_DEPTH = 256;
/** Rows of a part, a quarter of all within these. They come from the shape alone, so that bits do not depend on the threads. */
const [LEAST_PART, MOST_PART] = [256, 512] as const;

/** Whether the second operand is the first, turned, and the library does better than a product of any two. */
export function takesGram(group: KernelGroup, always: boolean, lapack: Lapack): boolean {
  const { dtype } = group.outputs[0]!;
  if (!takesMatmul(group, always) || !lapack.has("syrk", dtype as "f32" | "f64")) return false;
  const [a, b] = [operandAt(group, 0), operandAt(group, 1)];
  const rank = a.dims.length;
  const turned = (axis: number) => (axis < rank - 2 ? axis : 2 * rank - 3 - axis);
  const n = a.dims[rank - 2]!;
  return (
    a.value === b.value &&
    a.offset === b.offset &&
    n > 1 &&
    (always || (n >= LEAST_ROWS && a.dims[rank - 1]! >= LEAST_DEPTH)) &&
    a.dims.every((size, i) => size === b.dims[turned(i)] && a.strides[i] === b.strides[turned(i)])
  );
}

/** Appends the command for a aᵀ. */
export function emitGram(group: KernelGroup, ctx: EmitContext): void {
  const p: Product = productOf(group, ctx, ctx.pointer(group.outputs[0]!));
  const { a } = layoutsOf(p)!;
  const most = Math.min(MOST_PART, Math.max(LEAST_PART, p.M / 4));
  const part = Math.ceil(p.M / Math.ceil(p.M / most));
  const parts = Math.ceil(p.M / part);
  const count = p.batch.reduce((product, axis) => product * axis.size, 1);
  const units = (count * parts * (parts + 1)) / 2;
  const chunks = Math.min(units, chunksOf((count * p.M * p.M * p.K) / 2, CHUNK_WORK, 256));
  // biome-ignore format: in the order of the words
  const words = [
    p.a, p.c, p.M, p.K, a.ld, p.rowC, a.turned, dtypeBytes(p.dtypeA), part, count, p.batch.length,
    ...p.batch.flatMap((axis) => [axis.size, axis.a, axis.c]),
  ];
  ctx.linked(callHost, GRAM, words, chunks, 8 * chunks);
}
