import { singularValues } from "@lowrank/linalg";
import { Embedding, Linear, Module, QuantizedWeight, quantizeWeight, Sequential } from "@lowrank/nn";
import { key, matmul, normal, type Parameter, setDefaultBackend, tensor, type Tensor } from "@lowrank/tensor";
import { beforeAll, describe, expect, test } from "vitest";
import { expectNear, readGoldens } from "../../models/test/golden-files.js";
import { testBackend } from "../test/backend.js";
import { close, randomised, read } from "../test/layers.js";
import { golden } from "../test/methods.js";
import { attach } from "./attach.js";
import { attachLoftq, type LoftqConfig, loftqFactors } from "./loftq.js";
import { lora } from "./lora.js";
import { loadPeft, peftFiles } from "./peft.js";

beforeAll(async () => setDefaultBackend(await testBackend()));

const norm = async (t: Tensor): Promise<number> => Math.sqrt(await t.square().sum().item());

describe.each([4, 8] as const)("against PEFT's loop with our codes, %s bits", (bits) => {
  test("the error after each number of turns is the same, and so are codes and product of the nearest", async () => {
    const want = await readGoldens(golden("starts/loftq.safetensors"));
    const W = want.tensor("W");
    const { errors } = await loftqFactors(W, { rank: 4, bits, groupSize: 8, steps: 5 });
    for (const turns of [1, 2, 3, 5]) {
      const [update, dense] = [want.tensor(`${bits}.${turns}.update`), want.tensor(`${bits}.${turns}.dense`)];
      const error = await norm(W.sub(update).sub(dense));
      expect(Math.abs(errors[turns - 1]! / error - 1)).toBeLessThan(1e-3);
      const { Q, A, B, errors: own } = await loftqFactors(W, { rank: 4, bits, groupSize: 8, steps: turns });
      if (own.indexOf(Math.min(...own)) !== turns - 1) continue; // an earlier turn was nearer, and is what came
      await expectNear(matmul(B, A), await read(update), 1e-4, "update");
      await expectNear(Q.dense(), await read(dense), 1e-4, "codes");
    }
  });
});

describe("the factors", () => {
  const W = normal([16, 24], { key: key(1) });

  test("take the leading part of what the codes miss, so that the error is that of the other singular values", async () => {
    const { Q, A, B, errors } = await loftqFactors(W, { rank: 3, bits: 4, groupSize: 8, steps: 1 });
    const missed = W.sub(Q.dense());
    const left = (await read(singularValues(missed))).slice(3);
    const error = Math.sqrt(left.reduce((s, v) => s + v * v, 0));
    close([await norm(missed.sub(matmul(B, A))), errors[0]!], [error, error], 1e-5);
    close(await read(matmul(A, A.T)), await read(matmul(B.T, B)), 1e-5);
  });

  test("are those of the nearest turn, nearer than the codes of the weight alone", async () => {
    const { Q, A, B, errors } = await loftqFactors(W, { rank: 3, bits: 4, groupSize: 24, steps: 6 });
    expect(errors.length).toBe(6);
    close([await norm(W.sub(Q.dense()).sub(matmul(B, A)))], [Math.min(...errors)], 1e-5);
    const alone = await quantizeWeight(W, { bits: 4, groupSize: 24 });
    expect(Math.min(...errors)).toBeLessThan(0.9 * (await norm(W.sub(alone.dense()))));
  });
});

const x = normal([5, 16], { key: key(2) });
const make = (): Sequential => new Sequential(new Linear(16, 12, { key: key(3) })).eval() as Sequential;
const weightOf = (model: Sequential): Parameter => (model.at("0") as Linear).weight;

describe("a model", () => {
  const config: LoftqConfig = { rank: 4, alpha: 2, groupSize: 8, steps: 3 };

  test("has its weight in codes, is nearer to what it was than with codes alone, and trains the LoRA only", async () => {
    const want = await read(make().forward(x));
    const away = async (model: Sequential): Promise<number> => {
      const y = await read(model.forward(x));
      return Math.sqrt(y.reduce((s, v, i) => s + (v - want[i]!) ** 2, 0));
    };
    const model = make();
    const adapted = await attachLoftq(model, config, { targets: ["0"] });
    expect(weightOf(model)).toBeInstanceOf(QuantizedWeight);
    expect([...model.trainableParameters()].map(([path]) => path)).toEqual([
      "0.lora_A.default.weight",
      "0.lora_B.default.weight",
    ]);
    const plain = make();
    plain.loadState(
      new Map([["0.weight", await quantizeWeight(weightOf(plain), { bits: 4, groupSize: 8 })]]),
      {
        strict: false,
      },
    );
    expect(await away(model)).toBeLessThan(0.8 * (await away(plain)));
    const merged = await away(model);
    await adapted.merge();
    expect(await away(model)).toBeCloseTo(merged, 4);
  });

  test("whatever alpha is, starts as Q + B A", async () => {
    const W = weightOf(make());
    const { Q, A, B } = await loftqFactors(W, { rank: 4, groupSize: 8, steps: 3 });
    const want = await read(Q.dense().add(matmul(B, A)));
    for (const alpha of [2, 8, -3]) {
      const adapted = await attachLoftq(make(), { ...config, alpha }, { targets: ["0"] });
      const { layer } = adapted.places[0]!.stack;
      const { params, config: own, target } = adapted.places[0]!.entry;
      close(await read(lora.merge(layer.denseWeight(), params as never, own as never, target)), want, 1e-5);
    }
  });

  test("comes back from the file of its LoRA and its codes", async () => {
    const model = make();
    const adapted = await randomised(await attachLoftq(model, config, { targets: ["0"] }), 4);
    const want = await read(model.forward(x));
    const files = await peftFiles(adapted);
    adapted.detach();
    expect(weightOf(model)).toBeInstanceOf(QuantizedWeight);
    await loadPeft(model, files);
    expect(await read(model.forward(x))).toEqual(want);
  });

  test("keeps a tie between its head and its table", async () => {
    class Tied extends Module {
      table = new Embedding(12, 16, { key: key(5) });
      head = new Linear(16, 12, { bias: false });
      constructor() {
        super();
        this.head.weight = this.table.weight;
      }
    }
    const model = new Tied();
    await attachLoftq(model, config, { targets: ["head"] });
    expect(model.head.weight).toBeInstanceOf(QuantizedWeight);
    expect(model.table.weight).toBe(model.head.weight);
  });
});

describe("refused are, and nothing is changed,", () => {
  const attempt = (model: Sequential, config: Partial<LoftqConfig>) =>
    attachLoftq(model, { rank: 2, groupSize: 8, ...config }, { targets: ["0"] });

  test("groups that do not divide in", async () => {
    const model = make();
    await expect(attempt(model, { groupSize: 12 })).rejects.toThrow(/in modulo groupSize, for "0",/);
    expect(weightOf(model)).not.toBeInstanceOf(QuantizedWeight);
    expect((model.at("0") as Linear)._overlay).toBeNull();
  });
  test("other bits, no turns and an alpha of 0", async () => {
    await expect(attempt(make(), { bits: 3 as 4 })).rejects.toThrow(/bits to be one of 4, 8, got 3/);
    await expect(attempt(make(), { steps: 0 })).rejects.toThrow(/steps to be an integer of at least 1/);
    await expect(attempt(make(), { alpha: 0 })).rejects.toThrow(/alpha/);
  });
  test("weights in codes, and layers with adapters", async () => {
    const model = make();
    const first = await attempt(model, {});
    first.detach();
    await expect(attempt(model, {})).rejects.toThrow(
      /a weight \[out, in\] in numbers, got a weight in codes/,
    );
    const other = make();
    attach(other, lora, { rank: 1 }, { targets: ["0"], name: "other" });
    await expect(attempt(other, {})).rejects.toThrow(/got one with adapters/);
  });
  test("weights that are no numbers", async () => {
    const model = make();
    weightOf(model).replace(tensor(new Float32Array(192).fill(Number.NaN), { shape: [12, 16] }));
    await expect(attempt(model, {})).rejects.toThrow();
    expect((model.at("0") as Linear)._overlay).toBeNull();
  });
});
