import { type DType, encodeHost, type HostArray, hostArray, isFloat, roundTo } from "../dtype.js";
import { bug, ConfigError, ShapeError } from "../errors.js";
import { Node } from "../node.js";
import { type Aval, defineOp } from "../op.js";
import { type Dims, internShape, showDims } from "../shape.js";
import { Storage } from "../storage.js";
import { type NestedNumbers, Tensor } from "../tensor.js";
import { add, mul } from "./arithmetic.js";
import { cast, eq, where } from "./logic.js";
import { expectPositiveInteger } from "./expect.js";
import { broadcastTo, reshape } from "./movement.js";
import { scalarLeaf } from "./operands.js";

/** Numbers that are already there: the node is made with its storage. */
export const dataOp = /* @__PURE__ */ defineOp("data", {
  kind: "leaf",
  infer: (): Aval => bug("a data leaf has its shape from its storage"),
});

/** One JavaScript number, `arg`. It is bound at each run and is not part of a plan's key. */
export const scalarOp = /* @__PURE__ */ defineOp<number>("scalar", {
  kind: "leaf",
  infer: () => ({ dtype: "f32", dims: [] }),
  key: () => "",
});

/** 0, 1, 2, ... in row-major order: the value of an element is its flat index. */
export const iotaOp = /* @__PURE__ */ defineOp<{ readonly dims: Dims; readonly dtype: DType }>("iota", {
  kind: "leaf",
  infer: (_inputs, { dims, dtype }) => ({ dims, dtype }),
});

export interface DTypeOption {
  dtype?: DType;
}

export interface TensorOptions extends DTypeOption {
  /** Shape of flat data. Default: that of the nesting, or one axis for a typed array. */
  shape?: Dims;
}

/** What `tensor` takes: a number, nested arrays of numbers or booleans, or a typed array. */
export type TensorData = number | boolean | NestedData | HostArray;
export type NestedData = readonly (number | boolean | NestedData)[];

/**
 * A tensor of given numbers. Nested arrays give the shape; a typed array is flat and takes `shape`. The default dtype is
 * that of the typed array, bool for booleans, else f32.
 *
 * A typed array of the dtype's own kind is kept, not copied: do not write to it afterwards. f16 and bf16 are given as
 * numbers, or as a Uint16Array of bit patterns together with `dtype`.
 *
 * @throws ShapeError when the nesting is ragged or the shape has another size
 * @example
 * ```ts
 * tensor([[1, 2], [3, 4]]);
 * tensor(new Float32Array(6), { shape: [2, 3] });
 * ```
 */
export function tensor(data: TensorData, options: TensorOptions = {}): Tensor {
  if (ArrayBuffer.isView(data)) return fromTyped(data as HostArray, options);
  const dims: number[] = [];
  for (let at: TensorData = data; Array.isArray(at); at = at[0] as TensorData) {
    dims.push(at.length);
    if (at.length === 0) break;
  }
  const flat: number[] = [];
  const boolean = flatten(data as number | boolean | NestedData, dims, 0, flat);
  const dtype = options.dtype ?? (boolean ? "bool" : "f32");
  return fromHost(dtype, options.shape ?? dims, encodeHost(dtype, flat));
}

function fromTyped(data: HostArray, options: TensorOptions): Tensor {
  const own = dtypeOfArray(data);
  const dtype = options.dtype ?? own;
  if (!dtype) {
    throw new ConfigError({
      where: "tensor",
      expected: "a dtype for a Uint16Array",
      got: "none",
      hint: 'say { dtype: "f16" } or { dtype: "bf16" }',
    });
  }
  const kept = hostArray(dtype, 0).constructor === data.constructor;
  const host = kept ? (dtype === "bool" ? cleanBools(data) : data) : encodeHost(dtype, data);
  return fromHost(dtype, options.shape ?? [data.length], host);
}

const cleanBools = (data: HostArray): HostArray =>
  data.some((x) => x > 1) ? encodeHost("bool", data) : data;

function dtypeOfArray(data: HostArray): DType | undefined {
  if (data instanceof Float32Array) return "f32";
  if (data instanceof Float64Array) return "f64";
  if (data instanceof Int32Array) return "i32";
  if (data instanceof Uint32Array) return "u32";
  if (data instanceof Int8Array) return "i8";
  if (data instanceof Uint8Array) return "u8";
  return undefined;
}

/** Appends the numbers of nested arrays; tells whether they are booleans. */
function flatten(data: number | boolean | NestedData, dims: Dims, axis: number, out: number[]): boolean {
  if (!Array.isArray(data)) {
    if (axis !== dims.length) {
      throw new ShapeError({
        where: "tensor",
        expected: `an array of ${dims[axis]} at depth ${axis}`,
        got: String(data),
      });
    }
    out.push(Number(data));
    return typeof data === "boolean";
  }
  if (axis === dims.length || data.length !== dims[axis]) {
    throw new ShapeError({
      where: "tensor",
      expected:
        axis === dims.length
          ? `numbers at depth ${axis}`
          : `rows of equal length (${dims[axis]}) at depth ${axis}`,
      got: `an array of ${data.length}`,
    });
  }
  let boolean = false;
  for (const item of data as NestedData) boolean = flatten(item, dims, axis + 1, out);
  return boolean;
}

/** A leaf over a host array of the dtype's own kind, which is kept. */
export function fromHost(dtype: DType, dims: Dims, host: HostArray): Tensor {
  const shape = internShape(dims);
  if (shape.size !== host.length) {
    throw new ShapeError({
      where: "tensor",
      expected: `a shape of ${host.length} elements`,
      got: `${showDims(dims)}, which has ${shape.size}`,
    });
  }
  const node = new Node(dataOp, dtype, shape, null, []);
  node.storage = new Storage(dtype, shape.size, host);
  return new Tensor(node);
}

/** A 0-d tensor of one number. Plans do not depend on the number: another value runs the same plan. */
export const scalar = (value: number, { dtype = "f32" }: DTypeOption = {}): Tensor =>
  scalarLeaf(value, dtype);

/** `value` everywhere. */
export const full = (dims: Dims, value: number, { dtype = "f32" }: DTypeOption = {}): Tensor =>
  broadcastTo(scalarLeaf(value, dtype), dims);

/** Zeros. */
export const zeros = (dims: Dims, options?: DTypeOption): Tensor => full(dims, 0, options);

/** Ones. */
export const ones = (dims: Dims, options?: DTypeOption): Tensor => full(dims, 1, options);

/** Zeros in the shape of x, and in its dtype unless another is given. */
export const zerosLike = (x: Tensor, { dtype = x.dtype }: DTypeOption = {}): Tensor =>
  full(x.shape, 0, { dtype });

/** Ones in the shape of x, and in its dtype unless another is given. */
export const onesLike = (x: Tensor, { dtype = x.dtype }: DTypeOption = {}): Tensor =>
  full(x.shape, 1, { dtype });

/**
 * The flat row-major index of every element.
 *
 * @throws ShapeError when an integer dtype cannot hold the last index
 */
export function iota(dims: Dims, { dtype = "i32" }: DTypeOption = {}): Tensor {
  const shape = internShape(dims);
  if (!isFloat(dtype) && shape.size > 2 && roundTo(dtype, shape.size - 1) !== shape.size - 1) {
    throw new ShapeError({
      where: "iota",
      expected: `indices that ${dtype} can hold`,
      got: `shape ${showDims(dims)}`,
    });
  }
  return new Tensor(new Node(iotaOp, dtype, shape, { dims: shape.dims, dtype }, []));
}

/**
 * start, start + step, ... below `stop` (above it for a negative step). With one number it is `stop`, from 0. The default
 * dtype is i32 for integers, else f32.
 *
 * @throws ConfigError for a step of 0 or numbers that are not finite
 */
export function arange(start: number, stop?: number | null, step = 1, options: DTypeOption = {}): Tensor {
  const [from, to] = stop === undefined || stop === null ? [0, start] : [start, stop];
  if (step === 0 || ![from, to, step].every(Number.isFinite)) {
    throw new ConfigError({
      where: "arange",
      expected: "finite numbers and a step that is not 0",
      got: `${from}, ${to}, ${step}`,
    });
  }
  const dtype = options.dtype ?? ([from, to, step].every(Number.isInteger) ? "i32" : "f32");
  const count = Math.max(0, Math.ceil((to - from) / step));
  const index = iota([count], { dtype });
  const scaled = step === 1 ? index : cast(mul(index, step), dtype);
  return from === 0 ? scaled : cast(add(scaled, from), dtype);
}

/** `count` numbers from `start` to `stop`, both included, at equal distances. */
export function linspace(
  start: number,
  stop: number,
  count: number,
  { dtype = "f32" }: DTypeOption = {},
): Tensor {
  expectPositiveInteger("linspace", "count", count, 0);
  const index = iota([count], { dtype });
  const inner = add(mul(index, count > 1 ? (stop - start) / (count - 1) : 0), start);
  return count > 1 ? where(eq(index, count - 1), stop, inner) : inner;
}

/** Ones on the main diagonal of an n × m matrix (m defaults to n), zeros elsewhere. */
export function eye(n: number, m = n, { dtype = "f32" }: DTypeOption = {}): Tensor {
  return cast(eq(reshape(iota([n]), [n, 1]), iota([m])), dtype);
}

export type { NestedNumbers };
