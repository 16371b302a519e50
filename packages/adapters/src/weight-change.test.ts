import { attach, changeTrend, dora, lora, oft, weightChanges } from "@lowrank/adapters";
import { Embedding, Linear, Sequential } from "@lowrank/nn";
import { evaluate, key, setDefaultBackend, tensor } from "@lowrank/tensor";
import { beforeAll, expect, test } from "vitest";
import { testBackend } from "../test/backend.js";
import { randomised } from "../test/layers.js";

beforeAll(async () => setDefaultBackend(await testBackend()));

const model = (): Sequential =>
  new Sequential(new Linear(6, 4, { key: key(1) }), new Linear(4, 5, { key: key(2) }));

/** Mean length of the rows of a matrix. */
const meanLength = (W: ArrayLike<number>, width: number): number => {
  const rows = W.length / width;
  return (
    Array.from({ length: rows }, (_, r) =>
      Math.hypot(...Array.from(W).slice(r * width, (r + 1) * width)),
    ).reduce((a, b) => a + b) / rows
  );
};

test("a fresh adapter has moved nothing", async () => {
  const net = model();
  attach(net, lora, { rank: 2 }, { targets: "all-linear" });
  expect(await weightChanges(net)).toEqual([
    { path: "0", magnitude: 0, direction: 0 },
    { path: "1", magnitude: 0, direction: 0 },
  ]);
});

test("a weight that was multiplied has changed in length only", async () => {
  const net = model();
  const weight = net.at("0") as Linear;
  const since = new Map([["0.weight", tensor(await weight.weight.rawData(), { shape: [4, 6] })]]);
  await evaluate(weight.weight.assign(weight.weight.mul(1.5)));
  const [found] = await weightChanges(net, { targets: ["0"] }, since);
  expect(found!.direction).toBeLessThan(1e-12);
  expect(found!.magnitude).toBeCloseTo(0.5 * meanLength(await since.get("0.weight")!.data(), 6), 5);
});

test("a rotation has changed the direction only", async () => {
  const net = model();
  await randomised(attach(net, oft, { blockSize: 2, cayley: "exact" }, { targets: ["0"] }), 3, 0.2);
  const [found] = await weightChanges(net, { targets: ["0"] });
  expect(found!.magnitude).toBeLessThan(1e-6);
  expect(found!.direction).toBeGreaterThan(1e-3);
});

test("DoRA's magnitudes alone change the length by their mean change", async () => {
  const net = model();
  const { places } = attach(net, dora, { rank: 2 }, { targets: ["1"] });
  const m = places[0]!.entry.params["m"]!;
  await evaluate(m.assign(m.add(tensor(Float32Array.from([0.1, -0.2, 0.3, 0, 0])))));
  const [found] = await weightChanges(net, { targets: ["1"] });
  expect(found!.magnitude).toBeCloseTo(0.6 / 5, 5);
  expect(found!.direction).toBeLessThan(1e-12);
});

test("a small turn keeps its digits in f32: 1 − cos φ of φ = 1e-4", async () => {
  const net = new Sequential(new Linear(2, 1));
  const { weight } = net.at("0") as Linear;
  weight.replace(tensor(Float32Array.from([1, 0]), { shape: [1, 2] }));
  const since = new Map([["0.weight", tensor(Float32Array.from([1, 0]), { shape: [1, 2] })]]);
  weight.replace(tensor(Float32Array.from([1, 1e-4]), { shape: [1, 2] }));
  const [found] = await weightChanges(net, { targets: ["0"] }, since);
  expect(found!.direction / 5e-9).toBeCloseTo(1, 3);
});

test("for an embedding the neurons are its dimensions", async () => {
  const net = new Sequential(new Embedding(5, 3, { key: key(1) }));
  const { places } = attach(net, dora, { rank: 1 }, { targets: ["0"] });
  const m = places[0]!.entry.params["m"]!;
  await evaluate(m.assign(m.mul(2)));
  const [found] = await weightChanges(net, { targets: ["0"] });
  const columns = await net.at("0").state().get("weight")!.T.data();
  expect(found!.magnitude).toBeCloseTo(meanLength(columns, 5), 5);
});

test("the trend is Pearson's correlation and the slope of the line", () => {
  const points = [0, 1, 2, 3].map((direction) => ({ direction, magnitude: 5 - 2 * direction }));
  expect(changeTrend(points)).toEqual({ correlation: -1, slope: -2 });
  expect(() => changeTrend(points.slice(1, 2))).toThrow(/at least two points, got 1/);
});
