import { expect } from "vitest";
import { gradients } from "../src/autograd.js";
import { decodeHost, roundTo } from "../src/dtype.js";
import type { Node } from "../src/node.js";
import type { Aval, OpDef, RefArray } from "../src/op.js";
import { tensor } from "../src/ops/create.js";
import { add, mul } from "../src/ops/elementwise.js";
import { sum } from "../src/ops/reduce.js";
import { referenceOf } from "../src/reference/loops.js";
import { type Dims, sizeOf } from "../src/shape.js";
import { fromHost } from "../src/ops/create.js";
import { Tensor } from "../src/tensor.js";

type Results = readonly RefArray[];

/** Values of nodes by the op table alone: no engine, no backend, so that a test of an op tests nothing else. */
class Interpreter {
  private readonly done = new Map<Node, Results>();

  value(t: Tensor): RefArray {
    return this.results(t.node)[0]!;
  }

  private results(node: Node): Results {
    let found = this.done.get(node);
    if (!found) this.done.set(node, (found = this.compute(node)));
    return found;
  }

  private compute(node: Node): Results {
    const { op, dtype, shape, arg } = node;
    if (node.storage) return [{ dtype, dims: shape.dims, data: decodeHost(dtype, node.storage.host!) }];
    if (op.name === "scalar") return [{ dtype, dims: [], data: Float64Array.of(arg as number) }];
    if (op.name === "pick") return [this.results(node.sources[0]!)[arg as number]!];
    const out: readonly Aval[] = node.outputs
      ? node.outputs.map((o) => ({ dtype: o.dtype, dims: o.shape.dims }))
      : [{ dtype, dims: shape.dims }];
    if (op.kind === "composite") {
      const made = op.meaning!(
        node.sources.map((s) => new Tensor(s)),
        arg,
      );
      return (Array.isArray(made) ? made : [made as Tensor]).map((t) => this.value(t));
    }
    const inputs = node.sources.map((s) => this.results(s)[0]!);
    const data = op.kind === "elementwise" ? mapped(op, inputs, out[0]!) : referenceOf(op)!(inputs, arg, out);
    return (out.length === 1 ? [data as Float64Array] : (data as readonly Float64Array[])).map((d, i) => ({
      ...out[i]!,
      data: rounded(d, out[i]!),
    }));
  }
}

function mapped(op: OpDef, inputs: readonly RefArray[], out: Aval): Float64Array {
  const at = (x: RefArray, i: number) => x.data[x.dims.length === 0 ? 0 : i]!;
  return Float64Array.from({ length: sizeOf(out.dims) }, (_, i) =>
    op.scalar!(...inputs.map((x) => at(x, i))),
  );
}

const rounded = (data: Float64Array, { dtype }: Aval): Float64Array =>
  dtype === "f32" || dtype === "f64" ? data : data.map((v) => roundTo(dtype, v));

/** The numbers of a tensor in row-major order, f32 unrounded. */
export const numbers = (t: Tensor): number[] => Array.from(new Interpreter().value(t).data);

/** Numbers from a fixed sequence in [low, high), as f64 unless another dtype is given. */
export function draw(dims: Dims, seed: number, low = -1, high = 1): Tensor {
  let state = (seed * 2654435761 + 12345) >>> 0;
  const next = () => {
    state ^= state << 13;
    state ^= state >>> 17;
    state ^= state << 5;
    return (state >>> 0) / 2 ** 32;
  };
  for (let i = 0; i < 8; i++) next();
  return fromHost(
    "f64",
    dims,
    Float64Array.from({ length: sizeOf(dims) }, () => low + (high - low) * next()),
  );
}

export const ints = (values: readonly number[], dims: Dims = [values.length]): Tensor =>
  tensor(Int32Array.from(values), { shape: dims });

type Fn = (...xs: Tensor[]) => Tensor;

/** Σ f(xs) ∘ (fixed weights): a scalar whose gradient sees every output. */
function weighed(f: Fn): Fn {
  return (...xs) => {
    const y = f(...xs);
    return sum(mul(y, draw(y.shape, 77)));
  };
}

/**
 * Expects the gradients of `f` at float64 `xs` to agree with central differences. With `second`, the gradients of a
 * weighed sum of the gradients as well.
 */
export function checkGradients(
  f: Fn,
  xs: Tensor[],
  { second = false, atol = 1e-7 }: { second?: boolean; atol?: number } = {},
): void {
  const scalar = weighed(f);
  compare(scalar, xs, atol);
  if (!second) return;
  const slope: Fn = (...at) =>
    gradients(scalar(...at), at)
      .map((g, i) => sum(mul(g, draw(g.shape, 91 + i))))
      .reduce((a, b) => add(a, b));
  compare(slope, xs, atol * 10);
}

function compare(f: Fn, xs: Tensor[], atol: number): void {
  const grads = gradients(f(...xs), xs).map(numbers);
  const step = 1e-5;
  for (const [k, x] of xs.entries()) {
    const base = numbers(x);
    for (let i = 0; i < base.length; i++) {
      const at = (delta: number): number => {
        const moved = Float64Array.from(base);
        moved[i]! += delta;
        const others = xs.map((other, j) => (j === k ? fromHost("f64", x.shape, moved) : other));
        return numbers(f(...others))[0]!;
      };
      const slope = (at(step) - at(-step)) / (2 * step);
      const got = grads[k]![i]!;
      const bound = atol + 1e-6 * Math.abs(slope);
      if (!(Math.abs(got - slope) <= bound)) {
        expect.fail(
          `input ${k}, element ${i}: gradient ${got}, central difference ${slope}, tolerance ${bound}`,
        );
      }
    }
  }
}

/** Expects two lists of numbers to agree. */
export function expectClose(got: readonly number[], want: readonly number[], atol = 1e-9): void {
  expect(got.length).toBe(want.length);
  for (let i = 0; i < want.length; i++) {
    if (Object.is(got[i], want[i])) continue;
    if (!(Math.abs(got[i]! - want[i]!) <= atol + atol * Math.abs(want[i]!))) {
      expect.fail(`element ${i}: got ${got[i]}, expected ${want[i]}, tolerance ${atol}`);
    }
  }
}
