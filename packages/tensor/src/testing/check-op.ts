import type { DType } from "../dtype.js";
import { gradients } from "../autograd.js";
import { isFloat } from "../dtype.js";
import type { Backend } from "../device.js";
import { mul } from "../ops/arithmetic.js";
import { fromHost } from "../ops/create.js";
import { sum } from "../ops/reduce.js";
import { reference } from "../reference/backend.js";
import { showDims } from "../shape.js";
import type { Tensor } from "../tensor.js";
import { elementwiseCases, type OpEntry } from "./cases-elementwise.js";
import { networkCases } from "./cases-networks.js";
import { structureCases } from "./cases-structure.js";
import { difference, unravel } from "./compare.js";
import { Drawer, type OpCase, tensorOf } from "./drawer.js";
import { Rng } from "./rng.js";
import { runOn } from "./run.js";

/** One entry for each op of the table; an op with integer rules of its own has two. */
export const opCases = (): readonly OpEntry[] => [
  ...elementwiseCases(),
  ...structureCases(),
  ...networkCases(),
];

/** The case that a seed draws for an op in a dtype; `smooth` draws one for differences. */
export function drawCase(entry: OpEntry, dtype: DType, seed: number, smooth = false): OpCase {
  return entry.draw(new Drawer(new Rng(seed), dtype, smooth));
}

/**
 * Compares a backend with the reference on one case.
 *
 * @throws Error with the case, the worst index, both values and the tolerance
 */
export async function checkOp(backend: Backend, oneCase: OpCase): Promise<void> {
  const build = () => oneCase.build(oneCase.inputs.map(tensorOf));
  const expected = await runOn(reference(), build);
  const got = await runOn(backend, build);
  for (const [i, result] of expected.entries()) {
    const wrong = difference(got[i]!, result, oneCase);
    if (wrong) throw new Error(`${backend.name}: ${oneCase.text}, result ${i}: ${wrong}`);
  }
}

export interface GradientOptions {
  /** 1: the gradient; 2: the gradient of a random combination of the gradient. Default: 1. */
  order?: 1 | 2;
  /** Inputs are moved along at most this many elements each. Default: 8. */
  most?: number;
  seed?: number;
}

/**
 * Compares the gradient of a case with central differences in float64 on the reference backend. The case must have been
 * drawn as a smooth one.
 *
 * @throws Error with the case, the element, both values and the tolerance
 */
export async function checkGradient(oneCase: OpCase, options: GradientOptions = {}): Promise<void> {
  const { order = 1, most = 8, seed = 1 } = options;
  const backend = reference();
  const rng = new Rng(seed);
  const weights = new Map<string, Float64Array>();
  const weigh = (name: string, size: number): Float64Array => {
    let w = weights.get(name);
    if (!w)
      weights.set(
        name,
        (w = Float64Array.from({ length: size }, () => rng.between(0.5, 1.5) * (rng.chance(0.5) ? 1 : -1))),
      );
    return w;
  };
  const combine = (name: string, parts: readonly Tensor[]): Tensor =>
    parts
      .filter((p) => isFloat(p.dtype))
      .map((p, i) => sum(mul(p, fromHost("f64", p.shape, weigh(`${name}${i}`, p.size)))))
      .reduce((a, b) => a.add(b));

  const floats = oneCase.inputs.map((_, i) => i).filter((i) => isFloat(oneCase.inputs[i]!.dtype));
  const loss = (values: readonly Float64Array[]): { value: Tensor; grads: Tensor[] } => {
    const inputs = oneCase.inputs.map((input, i) => tensorOf({ ...input, values: values[i]! }));
    const wrt = floats.map((i) => inputs[i]!);
    let value = combine("y", oneCase.build(inputs));
    if (order === 2) value = combine("g", gradients(value, wrt));
    return { value, grads: gradients(value, wrt) };
  };

  const start = oneCase.inputs.map((input) => input.values);
  const slopes = await runOn(backend, () => loss(start).grads);
  const h = 1e-5;
  for (const [k, i] of floats.entries()) {
    const size = start[i]!.length;
    const elements = rng.order(size).slice(0, most);
    for (const at of elements) {
      const moved = (by: number) =>
        start.map((v, j) => (j === i ? v.map((x, e) => (e === at ? x + by : x)) : v));
      const [up] = await runOn(backend, () => [loss(moved(h)).value]);
      const [down] = await runOn(backend, () => [loss(moved(-h)).value]);
      const expected = (up!.data[0]! - down!.data[0]!) / (2 * h);
      const got = slopes[k]!.data[at]!;
      const allowed = 1e-6 * (1 + Math.abs(expected) + Math.abs(up!.data[0]!));
      if (!(Math.abs(got - expected) <= allowed)) {
        const where = showDims(unravel(at, oneCase.inputs[i]!.dims));
        throw new Error(
          `gradient${order === 2 ? " of the gradient" : ""} of ${oneCase.text}: input ${i} at ${where}: ` +
            `differences give ${expected}, the graph ${got}; allowed ${allowed}`,
        );
      }
    }
  }
}
