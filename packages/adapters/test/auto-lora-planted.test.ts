import {
  attach,
  type Attached,
  autoLora,
  autoLoraParameters,
  lora,
  rankPattern,
  searchRanks,
} from "@lowrank/adapters";
import { Linear, Module, mse, valueAndGrad } from "@lowrank/nn";
import { AdamW } from "@lowrank/optim";
import { evaluate, key, matmul, normal, setDefaultBackend, tanh, type Tensor } from "@lowrank/tensor";
import { beforeAll, describe, expect, test } from "vitest";
import { orthonormal } from "../src/orthonormal.js";
import { testBackend } from "./backend.js";

beforeAll(async () => setDefaultBackend(await testBackend()));

const WIDTH = 16;
const PLANTED = [1, 2, 4];
const SAMPLES = 512;
const BATCH = 64;

class Net extends Module {
  layers: Linear[];
  constructor(seed: number) {
    super();
    this.layers = PLANTED.map((_, i) => new Linear(WIDTH, WIDTH, { key: key(seed).fold(i), bias: false }));
  }
  forward(x: Tensor): Tensor {
    return this.layers.reduce((h, layer) => h.add(tanh(layer.forward(h))), x);
  }
}

interface Pair {
  readonly x: Tensor;
  readonly y: Tensor;
}

/** A network, and two streams from one whose layers differ from it by updates of ranks 1, 2 and 4 with equal singular values. */
async function problem(seed: number): Promise<{ student: () => Net; train: Pair[]; validation: Pair[] }> {
  const student = (): Net => new Net(100 + seed);
  const teacher = student();
  const drawn = (rank: number, of: number, i: number): Tensor =>
    orthonormal(normal([WIDTH, rank], { key: key(of + seed).fold(i) }));
  await evaluate(
    ...PLANTED.map((rank, i) => {
      const { weight } = teacher.layers[i]!;
      return weight.assign(weight.add(matmul(drawn(rank, 300, i), drawn(rank, 400, i).T).mul(3)));
    }),
  );
  const part = async (i: number): Promise<Pair[]> => {
    const x = normal([SAMPLES, WIDTH], { key: key(200 + seed).fold(i) });
    const y = teacher.forward(x).add(normal([SAMPLES, WIDTH], { key: key(500 + seed).fold(i), std: 0.05 }));
    await evaluate(x, y);
    return Array.from({ length: SAMPLES / BATCH }, (_, b) => {
      const rows = (t: Tensor): Tensor => t.slice([[b * BATCH, (b + 1) * BATCH]]);
      return { x: rows(x), y: rows(y) };
    });
  };
  return { student, train: await part(1), validation: await part(2) };
}

const targets = ["0", "1", "2"];

async function search(seed: number): Promise<{ ranks: number[]; losses: number[] }> {
  const { student, train, validation } = await problem(seed);
  const model = student();
  const adapted = attach(model, autoLora, { rank: 8 }, { targets, key: key(seed) });
  const { weights, selection } = autoLoraParameters(adapted);
  const losses: number[] = [];
  const ranks = await searchRanks(adapted, {
    train,
    validation,
    loss: ({ x, y }) => mse(model.forward(x), y),
    weights: new AdamW(weights, { lr: 2e-2, weightDecay: 0.2 }),
    selection: new AdamW(selection, { lr: 6e-2, weightDecay: 0 }),
    lookAhead: 2e-2,
    steps: 600,
    onStep: ({ validationLoss }) => losses.push(validationLoss),
  });
  return { ranks: Object.values(ranks), losses };
}

describe("AutoLoRA on planted updates of ranks 1, 2 and 4", () => {
  test("finds the ranks, in at least four of five draws all of them", async () => {
    const found: string[] = [];
    for (const seed of [0, 1, 2, 3, 4]) {
      const { ranks, losses } = await search(seed);
      expect(losses.at(-1)).toBeLessThan(0.05 * losses[0]!);
      found.push(ranks.join());
    }
    expect(
      found.filter((ranks) => ranks === PLANTED.join()).length,
      found.join(" | "),
    ).toBeGreaterThanOrEqual(4);
  });

  test("trained anew with them, LoRA does better than with the same number of parameters spread evenly", async () => {
    const { student, train, validation } = await problem(0);
    const retrain = async (attachTo: (model: Net) => Attached): Promise<number> => {
      const model = student();
      attachTo(model);
      const optimizer = new AdamW(model.trainableParameters(), { lr: 2e-2 });
      const step = valueAndGrad(model, ({ x, y }: Pair) => mse(model.forward(x), y));
      for (let i = 0; i < 400; i++) await optimizer.step(step(train[i % train.length]!).grads);
      let sum = 0;
      for (const { x, y } of validation) sum += await mse(model.forward(x), y).item();
      return sum / validation.length;
    };
    const ranks = rankPattern({ "layers.0": 1, "layers.1": 2, "layers.2": 4 });
    const chosen = await retrain((m) => attach(m, lora, { rank: 1 }, { targets, rankPattern: ranks }));
    const even = await retrain((m) =>
      attach(m, lora, { rank: 2 }, { targets, rankPattern: rankPattern({ "layers.0": 3 }) }),
    );
    expect(chosen).toBeLessThan(0.5 * even);
  });
});
