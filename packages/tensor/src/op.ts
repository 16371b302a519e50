import type { DType } from "./dtype.js";
import type { Tensor } from "./tensor.js";
import type { Dims } from "./shape.js";

/** What is known of a value before it is computed. */
export interface Aval {
  readonly dtype: DType;
  readonly dims: Dims;
}

/** A value of the reference backend: row-major float64 numbers, whatever the dtype. */
export interface RefArray {
  readonly dtype: DType;
  readonly dims: Dims;
  readonly data: Float64Array;
}

export interface VjpContext<A = unknown> {
  readonly inputs: readonly Tensor[];
  /** The results of the op itself (one, or several for a multi-output op). */
  readonly outputs: readonly Tensor[];
  readonly arg: A;
  /** Which inputs need a gradient: the others may be answered with null. */
  readonly needs: readonly boolean[];
  /** Gradients arriving at each output, null where none does. `dy` is the first of them. */
  readonly dys: readonly (Tensor | null)[];
}

/**
 * How the scheduler treats an op.
 * - `leaf`: a stored value, a scalar, a parameter, `iota`.
 * - `elementwise`: result[i] = scalar(inputs[i]...); inputs have the result's shape or are scalar leaves.
 * - `movement`: a view; index arithmetic only, never a copy by itself.
 * - `reduce`: sum, prod, max or min over `arg.axes`, which keep size 1.
 * - `kernel`: a primitive with a kernel on each backend (matmul, gather, sort, ...).
 * - `composite`: has a `meaning` in simpler ops; a backend may have a kernel for it.
 */
export type OpKind = "leaf" | "elementwise" | "movement" | "reduce" | "kernel" | "composite";

/** One row of the op table: an op is defined here and nowhere else. */
export interface OpDef<A = unknown> {
  readonly name: string;
  readonly kind: OpKind;
  /** Shape and dtype rule; also checks. Several results make a multi-output op. */
  infer(inputs: readonly Aval[], arg: A): Aval | readonly Aval[];
  /** Gradients with respect to the inputs, as more graph, so that higher derivatives come for free. */
  vjp?(dy: Tensor, context: VjpContext<A>): readonly (Tensor | null)[];
  /** The op in terms of simpler ops. Required for composites. */
  meaning?(inputs: readonly Tensor[], arg: A): Tensor | readonly Tensor[];
  /** Element-wise ops: the value in float64, for the reference backend and for scalars computed on the host. */
  scalar?(...x: number[]): number;
  /** Other primitives: plain loops in float64, obviously right. Those of this package stand in reference/loops.ts. */
  reference?(
    inputs: readonly RefArray[],
    arg: A,
    out: readonly Aval[],
  ): Float64Array | readonly Float64Array[];
  /**
   * Kernels that the row brings along, by the name of the backend they are for, each in that backend's own form: for ops of
   * packages above, which no backend knows. A backend looks here for what its own table lacks.
   */
  readonly kernels?: Readonly<Record<string, unknown>>;
  /** Inputs of a kernel that are single numbers (0 axes), which a plan may hand over by value. */
  readonly scalarInputs?: readonly number[];
  /** Part of the plan's key; default: JSON of `arg`. */
  key?(arg: A): string;
  /** For property tests: the domain of each input and the relative tolerance. */
  readonly check?: {
    readonly domain?: readonly [number, number];
    readonly rtol?: number;
    readonly atol?: number;
  };
}

/** Declares a row of the op table. It registers nothing: the row is the value. */
export function defineOp<A = null>(name: string, row: Omit<OpDef<A>, "name">): OpDef<A> {
  return { name, ...row };
}

const argIds = new WeakMap<OpDef, Map<string, number>>();
const opIds = new WeakMap<OpDef, number>();
let opCount = 0;

/** A process-wide number of an op, given at first use. */
export function opId(op: OpDef): number {
  let id = opIds.get(op);
  if (id === undefined) opIds.set(op, (id = opCount++));
  return id;
}

/** A number for an argument: equal arguments of one op have equal numbers. */
export function internArg(op: OpDef, arg: unknown): number {
  if (arg === null || arg === undefined) return 0;
  let ids = argIds.get(op);
  if (!ids) argIds.set(op, (ids = new Map()));
  const key = op.key ? op.key(arg) : JSON.stringify(arg);
  let id = ids.get(key);
  if (id === undefined) ids.set(key, (id = ids.size + 1));
  return id;
}
