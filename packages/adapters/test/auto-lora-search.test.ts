import { fileURLToPath } from "node:url";
import { attach, autoLora, autoLoraParameters, hypergradient, lora, searchRanks } from "@lowrank/adapters";
import { fromPretrained } from "@lowrank/models";
import { Linear, mse, Sequential } from "@lowrank/nn";
import { AdamW } from "@lowrank/optim";
import { key, normal, setDefaultBackend, type Tensor, tensor } from "@lowrank/tensor";
import { beforeAll, describe, expect, test } from "vitest";
import { expectNear, readGoldens } from "../../models/test/golden-files.js";
import { testBackend } from "./backend.js";
import { randomised, read } from "./layers.js";

beforeAll(async () => setDefaultBackend(await testBackend()));

const at = (path: string): string => fileURLToPath(new URL(path, import.meta.url));

test("the hypergradient agrees with numpy's, exact and by differences", async () => {
  const golden = await readGoldens(at("./goldens/derived/autolora-step.safetensors"));
  const layer = new Linear(12, 6);
  layer.weight.replace(golden.tensor("W"));
  layer.bias!.replace(golden.tensor("b"));
  const model = new Sequential(layer);
  const adapted = attach(model, autoLora, { rank: 3, alpha: 6 }, { targets: ["0"] });
  for (const [field, p] of Object.entries(adapted.places[0]!.entry.params)) p.replace(golden.tensor(field));
  const loss = (part: string) => () =>
    mse(model.forward(golden.tensor(`x.${part}`)), golden.tensor(`t.${part}`));
  for (const [method, bound] of [
    ["exact", 1e-5],
    ["differences", 1e-3], // single precision: a difference of two gradients over 2 ε
  ] as const) {
    const { value, grads } = hypergradient(adapted, loss("train"), loss("validation"), {
      lookAhead: 0.05,
      method,
    });
    await expectNear([...grads.values()][0]!, golden.numbers("g"), bound, method);
    expect(await value.item()).toBeCloseTo(golden.numbers("value")[0]!, 4);
  }
});

test("a language model can be differentiated twice: both hypergradients agree on it", async () => {
  const model = await fromPretrained(at("../../models/test/goldens/gpt2"));
  const adapted = await randomised(
    attach(model, autoLora, { rank: 2 }, { targets: ["c_attn", "c_proj"], key: key(1) }),
    2,
    0.3,
  );
  const ids = (shift: number): Tensor =>
    tensor(
      Int32Array.from({ length: 16 }, (_, i) => (i * 7 + shift) % 29),
      { shape: [2, 8], dtype: "i32" },
    );
  const loss = (shift: number) => (): Tensor => model.loss(ids(shift), ids(shift + 7));
  const slopes = async (lookAhead: number, method: "exact" | "differences"): Promise<number[]> => {
    const { grads } = hypergradient(adapted, loss(0), loss(3), { lookAhead, method });
    return (await Promise.all([...grads.values()].map(read))).flat();
  };
  const [exact, differences, direct] = [
    await slopes(0.3, "exact"),
    await slopes(0.3, "differences"),
    await slopes(0, "exact"),
  ];
  const size = Math.max(...exact.map(Math.abs));
  const apart = (other: number[]): number => Math.max(...exact.map((g, i) => Math.abs(g - other[i]!))) / size;
  expect(exact).toHaveLength(2 * adapted.layers.length);
  expect(apart(differences)).toBeLessThan(2e-2);
  expect(apart(direct)).toBeGreaterThan(0.05);
});

describe("searchRanks", () => {
  const setting = () => {
    const model = new Sequential(new Linear(6, 5, { key: key(1) }));
    const adapted = attach(model, autoLora, { rank: 3, dropout: 0.2 }, { targets: ["0"] });
    const { weights, selection } = autoLoraParameters(adapted);
    const batch = (seed: number): [Tensor, Tensor] => [
      normal([4, 6], { key: key(seed) }),
      normal([4, 5], { key: key(seed + 1) }),
    ];
    return {
      model,
      adapted,
      options: {
        train: [batch(2), batch(4)],
        validation: [batch(6)],
        loss: ([x, y]: [Tensor, Tensor]) => mse(model.forward(x), y),
        weights: new AdamW(weights, { lr: 1e-2 }),
        selection: new AdamW(selection, { lr: 1e-2 }),
        lookAhead: 1e-2,
        steps: 3,
      },
    };
  };

  test("changes A, B and β, leaves the base as it is, and repeats bit for bit", async () => {
    const outcome = async () => {
      const { model, adapted, options } = setting();
      const base = await read(model.state().get("0.weight")!);
      const steps: number[] = [];
      const ranks = await searchRanks(adapted, { ...options, onStep: ({ step }) => steps.push(step) });
      expect(await read(model.state().get("0.weight")!)).toEqual(base);
      expect(steps).toEqual([0, 1, 2]);
      expect(Object.keys(ranks)).toEqual(["0"]);
      return Promise.all([...adapted.parameters()].map(([, p]) => read(p)));
    };
    const first = await outcome();
    expect(first.every((values) => new Set(values).size > 1)).toBe(true);
    expect(await outcome()).toEqual(first);
  });

  test("goes through streams of any kind, and refuses one that has ended", async () => {
    const { adapted, options } = setting();
    const stream = async function* () {
      yield* options.train;
    };
    await searchRanks(adapted, { ...options, train: { [Symbol.asyncIterator]: stream } });
    await expect(searchRanks(adapted, { ...options, train: stream() })).rejects.toThrow(
      /train to have batches for every step/,
    );
    await expect(searchRanks(adapted, { ...options, validation: [] })).rejects.toThrow(
      /validation to have batches/,
    );
  });

  test("stops at a signal, and refuses other adapters and a bad number of steps", async () => {
    const { adapted, options } = setting();
    await expect(
      searchRanks(adapted, { ...options, signal: AbortSignal.abort(new Error("enough")) }),
    ).rejects.toThrow("enough");
    await expect(searchRanks(adapted, { ...options, steps: 0 })).rejects.toThrow(/steps to be an integer/);
    const other = attach(new Sequential(new Linear(6, 5)), lora, { rank: 1 }, { targets: ["0"] });
    await expect(searchRanks(other, options)).rejects.toThrow(/attached as autoLora, got lora/);
  });
});
