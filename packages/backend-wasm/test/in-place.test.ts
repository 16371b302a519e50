import { wasm } from "@lowrank/backend-wasm";
import {
  add,
  type Backend,
  crossEntropy,
  cumsum,
  gradients,
  mul,
  parameter,
  rmsNorm,
  rope,
  softmax,
  sum,
  type Tensor,
  tensor,
  updateSlice,
} from "@lowrank/tensor";
import { difference, reference, Rng, runOn, type Wanted } from "@lowrank/tensor/testing";
import { afterAll, beforeAll, describe, expect, test } from "vitest";

let wasmBackend: Backend;
beforeAll(async () => {
  wasmBackend = await wasm();
});
afterAll(() => wasmBackend.dispose());

const random = (seed: number, shape: number[]): Tensor => {
  const rng = new Rng(seed);
  const size = shape.reduce((a, b) => a * b, 1);
  return tensor(
    Float32Array.from({ length: size }, () => rng.next() * 2 - 1),
    { shape },
  );
};

/** Both backends must agree, and two runs of the plan must not disturb each other. */
async function agree(build: () => readonly Wanted[]): Promise<void> {
  const want = await runOn(reference(), build);
  const got = await runOn(wasmBackend, build);
  got.forEach((result, i) => {
    expect(difference(result, want[i]!, { rtol: 2e-5, atol: 2e-6 }), `result ${i}`).toBe(null);
  });
}

// In each graph the operand that may be overwritten is a temporary that nobody else reads, or one that is read later.
describe("kernels that may write over an operand", () => {
  test("softmax and its gradient", () =>
    agree(() => {
      const x = random(1, [5, 37]);
      const y = softmax(mul(x, 3));
      const kept = mul(x, 3);
      const again = softmax(kept);
      return [y, add(again, kept), ...gradients(sum(mul(softmax(mul(x, 2)), random(2, [5, 37]))), [x])];
    }));

  test("cross-entropy writes its gradient over the logits", () =>
    agree(() => {
      const x = random(3, [6, 50]);
      const labels = tensor([1, 49, -100, 0, 7, 3], { dtype: "i32" });
      const logits = mul(x, 4);
      const loss = crossEntropy(logits, labels);
      return [loss, ...gradients(loss, [x, logits]), logits];
    }));

  test("RMS norm and its gradient, with and without other readers", () =>
    agree(() => {
      const [x, w] = [random(4, [7, 24]), random(5, [24])];
      const h = add(x, 1);
      const y = rmsNorm(h, w);
      return [sum(y), add(y, h), ...gradients(sum(mul(rmsNorm(add(x, 2), w), random(6, [7, 24]))), [x, w])];
    }));

  test("rope, cumsum and slice updates", () =>
    agree(() => {
      const x = random(7, [2, 3, 2, 8]);
      const positions = tensor([4, 5, 6], { dtype: "i32" });
      const frequencies = tensor([1, 0.5, 0.25, 0.125]);
      const turned = rope(mul(x, 2), positions.reshape([1, 3]), frequencies);
      const base = mul(random(8, [3, 6]), 2);
      const written = updateSlice(base, random(9, [3, 2]), 3, 1);
      return [
        turned,
        cumsum(mul(x, 2)),
        written,
        updateSlice(add(written, 1), random(10, [3, 1]), 0, 1),
        add(base, 1),
      ];
    }));

  test("a cache that is a parameter takes its new rows in place, step after step", async () => {
    const run = async (backend: Backend): Promise<number[]> => {
      const cache = parameter(random(11, [2, 5, 3]), { trainable: false });
      const out: number[] = [];
      for (let step = 0; step < 4; step++) {
        const rows = random(100 + step, [2, 1, 3]);
        const [result] = await runOn(backend, () => [
          cache.assign(updateSlice(cache, rows, step, 1)),
          sum(cache),
        ]);
        out.push(...Array.from(result!.data));
      }
      return out;
    };
    const [got, want] = [await run(wasmBackend), await run(reference())];
    expect(got).toEqual(want);
  });
});
