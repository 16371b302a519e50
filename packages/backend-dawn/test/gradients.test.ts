import { afterAll, beforeAll, describe, test } from "vitest";
import { type Backend, gradients, mul, sum, type Tensor, tensor } from "@lowrank/tensor";
import {
  difference,
  drawCase,
  type OpCase,
  opCases,
  reference,
  Rng,
  runOn,
  tensorOf,
} from "@lowrank/tensor/testing";
import { gpu, noGpu } from "./gpu.js";

// LOWRANK_GPU_SEEDS=8 draws as many cases of each op as the gradients of the core are tested with.
const seeds = Number(process.env["LOWRANK_GPU_SEEDS"] ?? 1);

/** The gradients of a weighed sum of a case's results, or those of a weighed sum of these gradients. */
function derivatives(one: OpCase, order: 1 | 2, seed: number): Tensor[] {
  const rng = new Rng(seed);
  const isFloat = ({ dtype }: Tensor): boolean => dtype === "f32";
  const weigh = (parts: readonly Tensor[]): Tensor =>
    parts
      .filter(isFloat)
      .map((p) => {
        const weights = Float32Array.from(
          { length: p.size },
          () => rng.between(0.5, 1.5) * (rng.chance(0.5) ? 1 : -1),
        );
        return sum(mul(p, tensor(weights, { shape: p.shape })));
      })
      .reduce((a, b) => a.add(b));
  const inputs = one.inputs.map(tensorOf);
  const wrt = inputs.filter(isFloat);
  const first = gradients(weigh(one.build(inputs)), wrt);
  return order === 1 ? first : gradients(weigh(first), wrt);
}

/** Within 1e-5 of the reference, of each element or, since terms cancel, of the largest. */
async function check(backend: Backend, one: OpCase, order: 1 | 2, seed: number): Promise<void> {
  const build = (): Tensor[] => derivatives(one, order, seed);
  const expected = await runOn(reference(), build);
  const got = await runOn(backend, build);
  for (const [i, result] of expected.entries()) {
    const largest = Math.max(0, ...Array.from(result.data, Math.abs).filter(Number.isFinite));
    const wrong = difference(got[i]!, result, { rtol: 1e-5, atol: 1e-5 * largest });
    if (wrong) throw new Error(`${backend.name}: derivative ${order} of ${one.text}, input ${i}: ${wrong}`);
  }
}

describe.skipIf(noGpu)(
  "first and second derivatives on WebGPU agree with the reference",
  { timeout: 300_000 },
  () => {
    let backend: Backend;
    beforeAll(async () => {
      backend = await gpu();
    });
    afterAll(() => backend.dispose());

    for (const one of opCases()) {
      if (!one.differentiable) continue;
      test(one.op.name, async () => {
        for (let seed = 1; seed <= seeds; seed++) {
          const drawn = drawCase(one, "f32", seed, true);
          await check(backend, drawn, 1, seed);
          await check(backend, drawn, 2, seed);
        }
      });
    }
  },
);
