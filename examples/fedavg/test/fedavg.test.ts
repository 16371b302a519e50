import { valueAndGrad } from "@lowrank/nn";
import { SGD } from "@lowrank/optim";
import { crossEntropy, key, normal, tensor } from "@lowrank/tensor";
import { expect, test } from "vitest";
import { countOf, type Digits, order, pick, PIXELS, splitUnevenly } from "../src/digits.js";
import { average, bytesOf, Federation } from "../src/federation.js";
import { type Form, isPersonal, networkOf } from "../src/network.js";
import { type Line, table } from "../src/table.js";

const WIDTH = 16;
const OPTIONS = { epochs: 1, batch: 8, lr: 0.1, decay: 0.9, seed: 3 };

/** Noise with labels from 0 to 9 in turn. */
async function noise(count: number, seed: number): Promise<Digits> {
  const pixels = Float32Array.from(await normal([count * PIXELS], { key: key(seed) }).data());
  return { pixels, labels: Int32Array.from({ length: count }, (_, i) => i % 10) };
}

const start = async (form: Form, clients: readonly Digits[]): Promise<Federation> =>
  Federation.start(networkOf(form, WIDTH, 1), clients, { form, ...OPTIONS });

test("every digit is with one client, and the classes are spread unevenly", async () => {
  const digits = await noise(600, 1);
  for (const i of digits.labels.keys()) digits.pixels[i * PIXELS] = i;
  const parts = await splitUnevenly(digits, 5, 2, 20);
  const places = parts.flatMap((part) => Array.from(part.labels, (_, i) => part.pixels[i * PIXELS]!));
  expect(places.sort((a, b) => a - b)).toEqual(Array.from({ length: 600 }, (_, i) => i));
  const shares = parts.map(({ labels }) => labels.filter((l) => l === 0).length / 60);
  expect(Math.max(...shares)).toBeGreaterThan(2 * (1 / 5));
  expect(Math.min(...parts.map(countOf))).toBeGreaterThanOrEqual(20);
});

test.each([
  ["dense", PIXELS * WIDTH + WIDTH * WIDTH],
  ["low rank", 8 * (PIXELS + WIDTH + WIDTH + WIDTH)],
  ["FedPara", 2 * 4 * (PIXELS + WIDTH + WIDTH + WIDTH)],
  ["pFedPara", 4 * (PIXELS + WIDTH + WIDTH + WIDTH)],
] as const)(
  "%s sends %d numbers for the wide layers each way, and biases and the head",
  async (form, wide) => {
    const federation = await start(form, [await noise(16, 1), await noise(8, 2)]);
    await federation.round();
    await federation.round();
    const message = 4 * (wide + 2 * WIDTH + 10 * WIDTH + 10);
    expect(bytesOf(federation.server)).toBe(message);
    expect(federation.bytes).toBe(message * 2 * 2 * 2); // clients, ways, rounds
  },
);

test("the mean is weighted by the counts of digits", () => {
  const message = (...numbers: number[]) => new Map([["w", Float32Array.from(numbers)]]);
  const mean = average([message(1, 0), message(5, 8)], [3, 1]);
  expect(Array.from(mean.get("w")!)).toEqual([2, 2]);
});

test("one client with one batch takes a plain step of SGD on the factors", async () => {
  const digits = await noise(8, 4);
  const federation = await start("FedPara", [digits]);
  await federation.round();
  const network = networkOf("FedPara", WIDTH, 1);
  const { pixels, labels } = pick(digits, await order(8, 3 * 1009 * 101 * 11));
  const x = tensor(pixels, { shape: [8, PIXELS] });
  const { grads } = valueAndGrad(network, () =>
    crossEntropy(network.forward(x), tensor(labels, { dtype: "i32", shape: [8] })),
  )();
  await new SGD(network.trainableParameters(), { lr: 0.1 }).step(grads);
  for (const [path, p] of network.trainableParameters())
    expect(Array.from(federation.server.get(path)!), path).toEqual(Array.from(await p.data()));
});

test("pFedPara's second products stay with their clients and come apart", async () => {
  const federation = await start("pFedPara", [await noise(16, 1), await noise(16, 2)]);
  const before = federation.personal.map((own) => [...own]);
  expect(before[0]).toEqual(before[1]);
  await federation.round();
  expect([...federation.server.keys()].filter((path) => isPersonal("pFedPara", path))).toEqual([]);
  const [a, b] = federation.personal;
  expect([...a!.keys()].filter((path) => /[XY]2/.test(path))).toHaveLength(4);
  const moved = [...a!].some(([path, numbers]) => numbers.some((n, i) => n !== b!.get(path)![i]));
  expect(moved).toBe(true);
});

test("the networks of all forms start with He's variance", async () => {
  for (const form of ["dense", "low rank", "FedPara"] as const) {
    const network = networkOf(form, 64, 5);
    const x = normal([64, PIXELS], { key: key(6) });
    const y = await network.first.forward(x).data();
    const bias = await network.first.bias!.data();
    const squares = Array.from(y, (v, i) => (v - bias[i % 64]!) ** 2);
    const variance = squares.reduce((s, v) => s + v, 0) / squares.length;
    expect(variance, form).toBeGreaterThan(1.3); // 2, from few drawn numbers
    expect(variance, form).toBeLessThan(2.8);
  }
});

test("the table compares at equal bytes", () => {
  const line = (form: Form, round: number, bytes: number, accuracy: number): Line => ({
    form,
    seed: 0,
    round,
    bytes,
    accuracy,
    local: accuracy,
    seconds: 1,
  });
  const dense = [line("dense", 1, 9e6, 0.5), line("dense", 2, 18e6, 0.75)];
  const fed = Array.from({ length: 10 }, (_, i) => line("FedPara", i + 1, (i + 1) * 1e6, 0.8));
  expect(table([...dense, ...fed]).split("\n")[2]).toBe(
    "| dense | 9,000,000 | 50.00 % | 75.00 % | 75.00 % |",
  );
});
