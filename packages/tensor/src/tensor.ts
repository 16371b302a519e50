import type { DType, HostArray } from "./dtype.js";
import { decodeHost } from "./dtype.js";
import { ShapeError } from "./errors.js";
import { evaluate } from "./evaluate.js";
import { Node } from "./node.js";
import type { Aval, OpDef } from "./op.js";
import * as elementwise from "./ops/elementwise.js";
import { matmul } from "./ops/matmul.js";
import * as movement from "./ops/movement.js";
import * as reduce from "./ops/reduce.js";
import { type Dims, internShape } from "./shape.js";

/** Whatever an element-wise op takes beside a tensor. */
export type TensorLike = Tensor | number;

const BRAND = /* @__PURE__ */ Symbol.for("lowrank.tensor");

/**
 * An array of numbers that is computed when it is asked for. A tensor is an immutable handle to a node of a lazy graph:
 * making one costs nothing on the device, and nothing has to be freed by hand. `await t.data()` or
 * `await evaluate(t, ...)` computes.
 */
export class Tensor {
  /** @internal */
  readonly [BRAND] = true;
  protected current: Node;

  /** @internal */
  constructor(node: Node) {
    this.current = node;
  }

  /** @internal the graph node behind this handle */
  get node(): Node {
    return this.current;
  }

  /** Whether a value is a tensor, also one of a second installed copy of this package. */
  static is(value: unknown): value is Tensor {
    return typeof value === "object" && value !== null && BRAND in value;
  }

  get shape(): Dims {
    return this.node.shape.dims;
  }
  get dtype(): DType {
    return this.node.dtype;
  }
  /** Number of axes. */
  get ndim(): number {
    return this.node.shape.dims.length;
  }
  /** Number of elements. */
  get size(): number {
    return this.node.shape.size;
  }
  /** The transpose: the last two axes swapped. */
  get T(): Tensor {
    return movement.transpose(this);
  }

  add(other: TensorLike): Tensor {
    return elementwise.add(this, other);
  }
  sub(other: TensorLike): Tensor {
    return elementwise.sub(this, other);
  }
  mul(other: TensorLike): Tensor {
    return elementwise.mul(this, other);
  }
  div(other: TensorLike): Tensor {
    return elementwise.div(this, other);
  }
  pow(other: TensorLike): Tensor {
    return elementwise.pow(this, other);
  }
  neg(): Tensor {
    return elementwise.neg(this);
  }
  exp(): Tensor {
    return elementwise.exp(this);
  }
  log(): Tensor {
    return elementwise.log(this);
  }
  sqrt(): Tensor {
    return elementwise.sqrt(this);
  }
  square(): Tensor {
    return elementwise.square(this);
  }
  abs(): Tensor {
    return elementwise.abs(this);
  }
  astype(dtype: DType): Tensor {
    return elementwise.cast(this, dtype);
  }
  matmul(other: Tensor): Tensor {
    return matmul(this, other);
  }
  sum(axes?: number | readonly number[], options?: reduce.ReduceOptions): Tensor {
    return reduce.sum(this, axes, options);
  }
  mean(axes?: number | readonly number[], options?: reduce.ReduceOptions): Tensor {
    return reduce.mean(this, axes, options);
  }
  max(axes?: number | readonly number[], options?: reduce.ReduceOptions): Tensor {
    return reduce.max(this, axes, options);
  }
  min(axes?: number | readonly number[], options?: reduce.ReduceOptions): Tensor {
    return reduce.min(this, axes, options);
  }
  reshape(dims: Dims): Tensor {
    return movement.reshape(this, dims);
  }
  permute(axes: readonly number[]): Tensor {
    return movement.permute(this, axes);
  }
  /** Part of the tensor: `ranges[i]` is `[start, stop]`, `[start, stop, step]`, an index (drops the axis) or null (all). */
  slice(ranges: readonly movement.Range[]): Tensor {
    return movement.slice(this, ranges);
  }

  /** The numbers in row-major order: f16 and bf16 come as f32, bool as 0 and 1. Computes what is pending. */
  async data(): Promise<HostArray> {
    const raw = await this.rawData();
    return this.dtype === "f16" || this.dtype === "bf16"
      ? Float32Array.from(decodeHost(this.dtype, raw))
      : raw;
  }

  /** The stored numbers: f16 and bf16 as their 16-bit patterns. */
  async rawData(): Promise<HostArray> {
    if (!this.node.storage) await evaluate(this);
    return this.node.storage!.read();
  }

  /** The one number of a tensor of size 1. */
  async item(): Promise<number> {
    return oneNumber(this, await this.data());
  }

  /** The numbers as nested arrays. */
  async toArray(): Promise<NestedNumbers> {
    return nest(this.shape, await this.data());
  }

  /** Gives the memory of a stored value back now instead of when the handle is collected. */
  dispose(): void {
    this.node.storage?.dispose();
  }
  [Symbol.dispose](): void {
    this.dispose();
  }

  toString(): string {
    return `Tensor(${this.dtype}[${this.shape.join(", ")}]${this.node.storage ? "" : ", pending"})`;
  }
}

export type NestedNumbers = number | NestedNumbers[];

function oneNumber(t: Tensor, data: HostArray): number {
  if (t.size !== 1) {
    throw new ShapeError({ where: "item", expected: "a tensor of one element", got: `${t.size} elements` });
  }
  return data[0]!;
}

function nest(dims: Dims, data: HostArray): NestedNumbers {
  let at = 0;
  const build = (axis: number): NestedNumbers =>
    axis === dims.length ? data[at++]! : Array.from({ length: dims[axis]! }, () => build(axis + 1));
  return build(0);
}

/** Builds the node of a single-result op and a handle to it. */
export function apply<A>(op: OpDef<A>, inputs: readonly Tensor[], arg: A): Tensor {
  const out = op.infer(inputs.map(avalOf), arg) as Aval;
  return new Tensor(
    new Node(
      op,
      out.dtype,
      internShape(out.dims),
      arg,
      inputs.map((t) => t.node),
    ),
  );
}

/** Builds the node of an op with several results and a handle to each. */
export function applyMulti<A>(op: OpDef<A>, inputs: readonly Tensor[], arg: A): Tensor[] {
  const outs = (op.infer(inputs.map(avalOf), arg) as readonly Aval[]).map((o) => ({
    dtype: o.dtype,
    shape: internShape(o.dims),
  }));
  const node = new Node(
    op,
    outs[0]!.dtype,
    outs[0]!.shape,
    arg,
    inputs.map((t) => t.node),
    outs,
  );
  return outs.map((o, i) => new Tensor(new Node(movement.pickOp, o.dtype, o.shape, i, [node])));
}

export const avalOf = (t: Tensor): Aval => ({ dtype: t.node.dtype, dims: t.node.shape.dims });
