import { callHost, type EmitContext, matrices, type Product, productOf } from "@lowrank/backend-wasm/host";
import { dtypeBytes, type KernelGroup } from "@lowrank/tensor/backend";
import { GEMM } from "./thread.js";

/** Multiply-adds of a part of a product that one thread takes. */
const PART_WORK = 1 << 24;
const MOST_PARTS = 8;
/** Multiply-adds of one product below which the kernels of WebAssembly are as fast. */
export const LEAST_WORK = 1 << 15;
const NOWHERE = 0 as unknown as Product["c"];

/** A matrix as the library takes it: row-major or turned, with the distance of its rows or columns. */
function layoutOf(
  rows: number,
  columns: number,
  row: number,
  step: number,
): { turned: number; ld: number } | null {
  if ((step === 1 || columns === 1) && (row >= columns || rows === 1))
    return { turned: 0, ld: Math.max(row, columns) };
  if ((row === 1 || rows === 1) && (step >= rows || columns === 1))
    return { turned: 1, ld: Math.max(step, rows) };
  return null;
}

const layouts = (p: Product) => {
  const a = layoutOf(p.M, p.K, p.rowA, p.stepA);
  const b = layoutOf(p.K, p.N, p.stepB, p.columnB);
  return a && b && { a, b };
};

/** Whether the library does it, and does it faster. */
export function takesMatmul(group: KernelGroup, leastWork: number): boolean {
  const { dtype, size } = group.outputs[0]!;
  if ((dtype !== "f32" && dtype !== "f64") || size === 0) return false;
  const p = productOf(group, null, NOWHERE);
  const enough = p.K > 0 && p.M * p.N * p.K >= leastWork;
  return enough && p.dtypeA === dtype && p.dtypeB === dtype && layouts(p) !== null;
}

/** A product of matrices by the library. */
export const emitMatmul = (group: KernelGroup, ctx: EmitContext): void =>
  emitProduct(productOf(group, ctx, ctx.pointer(group.outputs[0]!)), ctx);

function emitProduct(p: Product, ctx: EmitContext): void {
  const { a, b } = layouts(p)!;
  const parts = Math.max(1, Math.min(MOST_PARTS, Math.floor((p.M * p.N * p.K) / PART_WORK)));
  const [rows, columns] = p.M >= p.N ? [Math.ceil(p.M / parts), p.N] : [p.M, Math.ceil(p.N / parts)];
  const units = matrices(p) * Math.ceil(p.M / rows) * Math.ceil(p.N / columns);
  const work = matrices(p) * p.M * p.N * p.K;
  const chunks = Math.min(units, Math.max(1, Math.floor(work / PART_WORK)), 256);
  // biome-ignore format: in the order of the words
  const words = [
    p.a, p.b, p.c, p.M, p.N, p.K, a.ld, b.ld, p.N, a.turned, b.turned, dtypeBytes(p.dtypeA), rows, columns, 0,
    matrices(p), p.batch.length, ...p.batch.flatMap((axis) => [axis.size, axis.a, axis.b, axis.c]),
  ];
  ctx.linked(callHost, GEMM, words, chunks, 8 * chunks);
}
