import {
  type DType,
  type Key,
  normal,
  type Parameter,
  parameter,
  ShapeError,
  type Tensor,
  uniform,
  zeros,
} from "@lowrank/tensor";

export interface InitOptions {
  key: Key;
  /** Default f32. */
  dtype?: DType;
}

/** Inputs and outputs of a weight [out, in, ...kernel]. */
function fans(where: string, dims: readonly number[]): { fanIn: number; fanOut: number } {
  if (dims.length < 2) {
    throw new ShapeError({ where, expected: "a weight [out, in, ...]", got: `[${dims.join(", ")}]` });
  }
  const kernel = dims.slice(2).reduce((a, b) => a * b, 1);
  return { fanIn: dims[1]! * kernel, fanOut: dims[0]! * kernel };
}

/** Uniform within ±bound. */
export const uniformWithin = (
  dims: readonly number[],
  bound: number,
  { key, dtype = "f32" }: InitOptions,
): Tensor => uniform(dims, { key, min: -bound, max: bound, dtype });

/**
 * Uniform within ±√(6 / ((1 + a²) · fanIn)), which keeps the variance through a leaky ReLU of slope `a` (default 0, a
 * ReLU). With a = √5 the bound is 1/√fanIn, PyTorch's start of a linear layer.
 *
 * Source: He et al. 2015, arXiv:1502.01852, section 2.2.
 */
export function kaimingUniform(
  dims: readonly number[],
  { a = 0, ...options }: InitOptions & { a?: number },
): Tensor {
  const { fanIn } = fans("kaimingUniform", dims);
  return uniformWithin(dims, Math.sqrt(6 / ((1 + a * a) * fanIn)), options);
}

/** N(0, 2 / ((1 + a²) · fanIn)): the Gaussian form of {@link kaimingUniform}. */
export function kaimingNormal(
  dims: readonly number[],
  { a = 0, key, dtype = "f32" }: InitOptions & { a?: number },
): Tensor {
  const { fanIn } = fans("kaimingNormal", dims);
  return normal(dims, { key, std: Math.sqrt(2 / ((1 + a * a) * fanIn)), dtype });
}

/**
 * Uniform within ±gain · √(6 / (fanIn + fanOut)).
 *
 * Source: Glorot and Bengio 2010, "Understanding the difficulty of training deep feedforward neural networks", eq. (16).
 */
export function xavierUniform(
  dims: readonly number[],
  { gain = 1, ...options }: InitOptions & { gain?: number },
): Tensor {
  const { fanIn, fanOut } = fans("xavierUniform", dims);
  return uniformWithin(dims, gain * Math.sqrt(6 / (fanIn + fanOut)), options);
}

/** N(0, gain² · 2 / (fanIn + fanOut)): the Gaussian form of {@link xavierUniform}. */
export function xavierNormal(
  dims: readonly number[],
  { gain = 1, key, dtype = "f32" }: InitOptions & { gain?: number },
): Tensor {
  const { fanIn, fanOut } = fans("xavierNormal", dims);
  return normal(dims, { key, std: gain * Math.sqrt(2 / (fanIn + fanOut)), dtype });
}

/** Weight [out, in, ...kernel] and bias [out] of a layer: PyTorch's start, both within ±1/√fanIn, or zeros without a key. */
export function affineStart(
  dims: readonly number[],
  { bias, key, dtype }: { bias: boolean; key?: Key; dtype: DType },
): { weight: Parameter; bias: Parameter | null } {
  const [weightKey, biasKey] = key?.split(2) ?? [];
  const { fanIn } = fans("affineStart", dims);
  const own = dims.slice(0, 1);
  const started = (key: Key): Tensor => uniformWithin(own, fanIn ** -0.5, { key, dtype });
  return {
    weight: parameter(
      weightKey ? kaimingUniform(dims, { key: weightKey, a: Math.sqrt(5), dtype }) : zeros(dims, { dtype }),
    ),
    bias: bias ? parameter(biasKey ? started(biasKey) : zeros(own, { dtype })) : null,
  };
}
