import { dtypeBytes, type Operand, type Value } from "@lowrank/tensor/backend";
import { COPY_STRIDED, FILL_ZERO } from "../../assembly/ids.js";
import { type ArgWord, chunksOf, type EmitContext } from "../emit.js";
import { sizeOf } from "./operands.js";

/** Bytes worth waking a thread for. */
const GRAIN = 1 << 19;

interface Axis {
  size: number;
  /** Strides in elements. */
  from: number;
  to: number;
}

/** Axes that move together become one. */
function merge(axes: readonly Axis[]): Axis[] {
  const merged: Axis[] = [];
  for (const axis of axes) {
    const last = merged[merged.length - 1];
    if (axis.size === 1) continue;
    if (last && last.from === axis.from * axis.size && last.to === axis.to * axis.size) {
      merged[merged.length - 1] = { size: last.size * axis.size, from: axis.from, to: axis.to };
    } else merged.push(axis);
  }
  return merged.length > 0 ? merged : [{ size: 1, from: 1, to: 1 }];
}

/**
 * Copies an operand to the places `offset + Σ strides[d] · i[d]` (in elements) of a value of its dtype.
 */
export function emitCopy(
  ctx: EmitContext,
  from: Operand,
  to: Value,
  offset: number,
  strides: readonly number[],
): void {
  const size = sizeOf(from.dims);
  if (size === 0) return;
  const width = dtypeBytes(from.dtype);
  const chunks = chunksOf(size * width, GRAIN);
  const emit = (axes: readonly Axis[], skip: number): void => {
    const words: ArgWord[] = [
      ctx.pointer(from, skip * width),
      ctx.pointer(to, (offset + skip) * width),
      width,
      axes.length,
    ];
    for (const axis of axes) words.push(axis.size, axis.from * width, axis.to * width);
    ctx.command(COPY_STRIDED, words, chunks);
  };
  const axes = merge(from.dims.map((n, d) => ({ size: n, from: from.strides[d]!, to: strides[d]! })));
  const [only] = axes;
  if (axes.length > 1 || chunks === 1 || only!.from !== 1 || only!.to !== 1) {
    emit(axes, 0);
    return;
  }
  // One long run: cut, so that threads can share it.
  const part = Math.floor(size / chunks);
  const done = part * chunks;
  emit(
    [
      { size: chunks, from: part, to: part },
      { size: part, from: 1, to: 1 },
    ],
    0,
  );
  if (done < size) emit([{ size: size - done, from: 1, to: 1 }], done);
}

export function emitZeros(ctx: EmitContext, to: Value): void {
  const bytes = to.size * dtypeBytes(to.dtype);
  if (bytes > 0) ctx.command(FILL_ZERO, [ctx.pointer(to), bytes], chunksOf(bytes, 2 * GRAIN));
}
