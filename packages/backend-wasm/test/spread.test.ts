import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { startEmbedded } from "../src/backend.js";
import {
  type Backend,
  crossEntropy,
  evaluate,
  exp,
  gradients,
  matmul,
  memory,
  type Parameter,
  parameter,
  relu,
  setDefaultBackend,
  slice,
  sum,
  tensor,
} from "@lowrank/tensor";
import { checkOp, drawCase, opCases } from "@lowrank/tensor/testing";

const MIB = 1 << 20;
const several = (count: number, mib: number) => new Array<number>(count).fill(mib * MIB);
/** Numbers from -½ to ½ that look random. */
const filled = (shape: number[], seed: number) => {
  const numbers = new Float32Array(shape.reduce((a, b) => a * b, 1));
  let state = seed;
  for (let i = 0; i < numbers.length; i++) {
    state = (Math.imul(state, 1664525) + 1013904223) | 0;
    numbers[i] = state / 2 ** 32;
  }
  return tensor(numbers, { shape });
};

describe("several memories", () => {
  let backend: Backend;
  beforeAll(async () => {
    backend = await startEmbedded({ threads: 1, memories: several(3, 8) });
  });
  afterAll(() => backend.dispose());

  test("every op agrees with the reference", async () => {
    for (const one of opCases()) await checkOp(backend, drawCase(one, one.dtypes[0]!, 3));
  });
});

/** Ten steps of gradient descent on a network whose weights do not fit in one of the memories. */
async function train(backend: Backend): Promise<{ losses: number[]; weights: Float32Array[] }> {
  setDefaultBackend(backend);
  const sizes = [256, ...new Array<number>(9).fill(1024), 64];
  const layers: Parameter[] = sizes
    .slice(1)
    .map((n, i) => parameter(filled([sizes[i]!, n], i + 1).mul(0.15)));
  const x = parameter(filled([48, sizes[0]!], 77));
  const labels = tensor(
    Int32Array.from({ length: 48 }, (_, i) => (i * 7) % 64),
    { dtype: "i32" },
  );
  const losses: number[] = [];
  for (let step = 0; step < 10; step++) {
    const out = layers.reduce(
      (h, w, i) => (i < layers.length - 1 ? relu(matmul(h, w)) : matmul(h, w)),
      x.mul(1),
    );
    const loss = crossEntropy(out, labels);
    const grads = gradients(loss, layers);
    await evaluate(loss, ...layers.map((w, i) => w.assign(w.sub(grads[i]!.mul(0.1)))));
    losses.push(await loss.item());
  }
  return { losses, weights: (await Promise.all(layers.map((w) => w.data()))) as Float32Array[] };
}

test.each([1, 2])(
  "a training run over four small memories has the bits of one, %i threads",
  async (threads) => {
    const one = await startEmbedded({ threads, memories: several(1, 256) });
    const expected = await train(one);
    one.dispose();
    const four = await startEmbedded({ threads, memories: several(4, 32) });
    const got = await train(four);
    expect(got.losses).toEqual(expected.losses);
    expect(got.weights).toEqual(expected.weights);
    expect(expected.losses[9]!).toBeLessThan(expected.losses[0]!);
    four.dispose();
  },
);

test("more is held than one memory has, and all of it can be freed", async () => {
  const backend = await startEmbedded({ threads: 1, memories: several(4, 8) });
  setDefaultBackend(backend);
  const parts = Array.from({ length: 20 }, (_, i) => parameter(tensor(new Float32Array(MIB / 4).fill(i))));
  await evaluate(...parts);
  expect(memory().ownedBytes).toBeGreaterThanOrEqual(20 * MIB);
  const total = parts.map((p) => sum(p)).reduce((a, b) => a.add(b));
  expect(await total.item()).toBe((190 * MIB) / 4);
  for (const part of parts) part.dispose();
  expect(memory().ownedBytes).toBeLessThan(MIB);
  backend.dispose();
});

test("a tensor larger than a memory is refused with what is possible", async () => {
  const backend = await startEmbedded({ threads: 1, memories: several(2, 4) });
  expect(() => backend.allocate(5 * MIB)).toThrow(
    "expected a tensor of at most 4194304 bytes, which is the largest of 2 memories, got one of 5242880 bytes",
  );
  backend.dispose();
});

test("a step that has no room for its copies changes nothing", async () => {
  const backend = await startEmbedded({ threads: 1, memories: several(2, 8) });
  setDefaultBackend(backend);
  const filledMib = (mib: number) => parameter(filled([(mib * MIB) / 4], mib));
  const tiny = parameter(filled([16], 1));
  // The first memory takes two of these, the second the others: it has no room left for `b`, which the second assignment
  // needs there.
  const parts = [1, 2, 2, 4].map(filledMib);
  const [b, large] = [parts[0]!, parts[3]!];
  await evaluate(tiny, ...parts);
  const before = [await tiny.data(), await b.data()];
  const step = evaluate(tiny.assign(exp(tiny)), b.assign(b.add(slice(large, [[0, MIB / 4]]))));
  await expect(step).rejects.toThrow("evaluate on wasm: expected at most");
  expect([await tiny.data(), await b.data()]).toEqual(before);
  backend.dispose();
});
