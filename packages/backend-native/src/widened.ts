// Products with weights of few bits: blocks of them are widened to f32 by kernels of our own and multiplied there, so that
// the whole matrix is never in memory.
import {
  chunksOf,
  DTYPE_IDS,
  type EmitContext,
  type Fixup,
  MATMUL_NARROW,
  operandAt,
  type Product,
} from "@lowrank/backend-wasm/host";
import { dtypeBytes, type KernelGroup, type Operand } from "@lowrank/tensor/backend";
import { WIDEN_CODES, WIDEN_HALVES } from "../assembly/kernels.js";
import { extension } from "./generated/kernels.js";
import { type Cut, emitGemm, layoutsOf, shapeOf } from "./matmul.js";

/** Bytes of a widened block: it stays in the last cache. */
const BLOCK_BYTES = 8 << 20;
/** Rows and columns from which the library gains more than widening costs: each weight is used so often. */
const LEAST_SIDE = 32;
/** Numbers of a chunk, some 20 µs. */
const CHUNK_NUMBERS = 1 << 16;
const NONE = 0;

const isHalf = (dtype: string): boolean => dtype === "f16" || dtype === "bf16";
const isNarrow = (dtype: string): boolean => dtype === "f32" || isHalf(dtype);

/** One side of a product, cut along M or N: rows of the stored matrix, or columns where k runs over its rows. */
interface Side {
  /** Whether k runs along the rows of the stored matrix. */
  readonly alongRows: boolean;
  /** Most at once. */
  readonly block: number;
  /** Where a part lies once it is there, and the distance of its rows. */
  part(from: number, count: number): { at: Fixup; ld: number };
  /** Appends the command that puts a part there. */
  widen?(from: number, count: number): void;
}

interface QuantizedArg {
  readonly bits: 8 | 4;
  readonly groupSize: number;
  readonly activations: "f32" | "int16" | "int8";
  readonly transposed: boolean;
}

/** Whether the library does a product with an operand in f16 or bf16, and does it faster. */
export function takesHalves(group: KernelGroup, always: boolean): boolean {
  const p = shapeOf(group, null);
  const narrow = isNarrow(p.dtypeA) && isNarrow(p.dtypeB) && isNarrow(group.outputs[0]!.dtype);
  if (!narrow || !(isHalf(p.dtypeA) || isHalf(p.dtypeB)) || p.batch.length > 0) return false;
  const some = p.M > 1 && p.N > 0 && p.K > 0;
  return some && layoutsOf(p) !== null && (always || Math.min(p.M, p.N) >= LEAST_SIDE);
}

/** Whether the library does a product with codes, and does it faster. */
export function takesCodes(group: KernelGroup, always: boolean): boolean {
  const { activations } = group.arg as QuantizedArg;
  const [rows, columns] = group.outputs[0]!.dims as [number, number];
  const narrow = group.inputs.every(({ dtype }, i) => i === 1 || isNarrow(dtype));
  const some = rows > 1 && columns > 0 && operandAt(group, 0).dims[1]! > 0;
  return narrow && activations === "f32" && some && (always || Math.min(rows, columns) >= LEAST_SIDE);
}

export function emitHalves(group: KernelGroup, ctx: EmitContext, cut: Cut): void {
  const p = shapeOf(group, ctx);
  const { a, b } = layoutsOf(p)!;
  const sideA = matrixSide(
    p.a,
    p.dtypeA,
    { alongRows: a.turned === 0, ld: a.ld, size: p.M, depth: p.K },
    ctx,
  );
  const sideB = matrixSide(
    p.b,
    p.dtypeB,
    { alongRows: b.turned === 1, ld: b.ld, size: p.N, depth: p.K },
    ctx,
  );
  emitBlocks(group, p, sideA, sideB, ctx, cut);
}

export function emitCodes(group: KernelGroup, ctx: EmitContext, cut: Cut): void {
  const x = operandAt(group, 0);
  const [M, N] = group.outputs[0]!.dims as [number, number];
  const K = x.dims[1]!;
  const sideA = matrixSide(ctx.pointer(x), x.dtype, { alongRows: true, ld: K, size: M, depth: K }, ctx);
  emitBlocks(group, { M, N, K }, sideA, codesSide(group, N, K, ctx), ctx, cut);
}

interface Stored {
  readonly alongRows: boolean;
  /** Distance of rows. */
  readonly ld: number;
  /** M or N. */
  readonly size: number;
  readonly depth: number;
}

function matrixSide(base: Fixup, dtype: Operand["dtype"], m: Stored, ctx: EmitContext): Side {
  const bytes = dtypeBytes(dtype);
  const from = (first: number): Fixup => ctx.offset(base, first * (m.alongRows ? m.ld : 1) * bytes);
  if (!isHalf(dtype)) return { ...m, block: m.size, part: (first) => ({ at: from(first), ld: m.ld }) };
  return widened(m, 8, ctx, (first, to, rows, columns) => {
    const isBf16 = dtype === "bf16" ? 1 : 0;
    ctx.linked(
      extension,
      WIDEN_HALVES,
      [to, rows, columns, from(first), m.ld, isBf16],
      Math.min(rows, chunksOf(rows * columns, CHUNK_NUMBERS)),
    );
  });
}

function codesSide(group: KernelGroup, N: number, K: number, ctx: EmitContext): Side {
  const { bits, groupSize, transposed } = group.arg as QuantizedArg;
  const [codes, scales] = [operandAt(group, 1), operandAt(group, 2)];
  const mins = group.inputs.length > 3 ? operandAt(group, 3) : null;
  const ld = transposed ? N : K;
  const m = { alongRows: !transposed, ld, size: N, depth: K };
  const numbersOf = (first: number): number => (transposed ? first : first * ld);
  return widened(m, transposed ? groupSize : 1, ctx, (first, to, rows, columns) => {
    const partAt = (x: Operand): Fixup =>
      ctx.pointer(x, (numbersOf(first) / groupSize) * dtypeBytes(x.dtype));
    const words = [to, rows, columns, ctx.pointer(codes, (numbersOf(first) * bits) / 8), partAt(scales)];
    const dtypes = [DTYPE_IDS[scales.dtype], mins ? DTYPE_IDS[mins.dtype] : NONE];
    ctx.linked(
      extension,
      WIDEN_CODES,
      [...words, mins ? partAt(mins) : NONE, ld, bits, groupSize, ...dtypes],
      Math.min(rows, chunksOf(rows * columns, CHUNK_NUMBERS)),
    );
  });
}

/** A side of which one block at a time is widened into the same place. */
function widened(
  m: Stored,
  multiple: number,
  ctx: EmitContext,
  command: (first: number, to: Fixup, rows: number, columns: number) => void,
): Side {
  const most = Math.max(1, Math.floor(BLOCK_BYTES / (m.depth * 4 * multiple))) * multiple;
  const block = Math.min(m.size, most);
  const at = ctx.workspace(block * m.depth * 4);
  return {
    alongRows: m.alongRows,
    block,
    part: (_, count) => ({ at, ld: m.alongRows ? m.depth : count }),
    widen(first, count) {
      const [rows, columns] = m.alongRows ? [count, m.depth] : [m.depth, count];
      command(first, at, rows, columns);
    },
  };
}

function emitBlocks(
  group: KernelGroup,
  { M, N, K }: Pick<Product, "M" | "N" | "K">,
  a: Side,
  b: Side,
  ctx: EmitContext,
  cut: Cut,
): void {
  const out = group.outputs[0]!;
  const half = isHalf(out.dtype);
  const c = half ? ctx.workspace(out.size * 4) : ctx.pointer(out);
  for (let row = 0; row < M; row += a.block) {
    const rows = Math.min(a.block, M - row);
    a.widen?.(row, rows);
    for (let column = 0; column < N; column += b.block) {
      const columns = Math.min(b.block, N - column);
      if (row === 0 || b.block < N) b.widen?.(column, columns);
      const [left, right] = [a.part(row, rows), b.part(column, columns)];
      emitGemm(
        {
          M: rows,
          N: columns,
          K,
          a: left.at,
          b: right.at,
          c: ctx.offset(c, (row * N + column) * 4),
          rowC: N,
          bytes: 4,
          batch: [],
        },
        { turned: a.alongRows ? 0 : 1, ld: left.ld },
        { turned: b.alongRows ? 1 : 0, ld: right.ld },
        ctx,
        cut,
      );
    }
  }
  if (half) {
    const args = [c, ctx.pointer(out), out.size, DTYPE_IDS[out.dtype]];
    ctx.command(MATMUL_NARROW, args, chunksOf(out.size, CHUNK_NUMBERS));
  }
}
