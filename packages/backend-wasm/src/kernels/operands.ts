import type { DType, KernelGroup, Operand } from "@lowrank/tensor/backend";
import { type ArgWord, type EmitContext, operandAt } from "../emit.js";

/** Number of elements of a shape. */
export const sizeOf = (dims: readonly number[]): number => dims.reduce((n, d) => n * d, 1);

/** A shape as rows of its last axis. */
export function rowsOf(dims: readonly number[]): { rows: number; n: number } {
  const n = dims[dims.length - 1] ?? 1;
  return { rows: sizeOf(dims.slice(0, -1)), n };
}

/** A shape around an axis: what comes before it, its size, what comes after. */
export const around = (
  dims: readonly number[],
  axis: number,
): { outer: number; n: number; inner: number } => ({
  outer: sizeOf(dims.slice(0, axis)),
  n: dims[axis]!,
  inner: sizeOf(dims.slice(axis + 1)),
});

/** The address of a 0-d i32 input, which is a scalar of the plan or a stored number. */
export function scalarAddress(group: KernelGroup, index: number, ctx: EmitContext): ArgWord {
  const input = group.inputs[index];
  return input && "scalarSlot" in input ? ctx.scalar(input.scalarSlot) : ctx.pointer(operandAt(group, index));
}

/** Strides of the given axes, in elements. */
export const stridesAt = (operand: Operand, ...axes: number[]): number[] =>
  axes.map((d) => operand.strides[d]!);

/** Dtypes whose rows are computed in f32. */
export const isNarrowFloat = (dtype: DType): boolean =>
  dtype === "f32" || dtype === "f16" || dtype === "bf16";
