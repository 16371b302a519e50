import { Linear, mse, Sequential, valueAndGrad } from "@lowrank/nn";
import {
  evaluate,
  flip,
  gradients,
  key,
  normal,
  type Parameter,
  setDefaultBackend,
  type Tensor,
  tensor,
} from "@lowrank/tensor";
import { beforeAll, describe, expect, test } from "vitest";
import { testBackend } from "../test/backend.js";
import { close, randomised, read } from "../test/layers.js";
import { attach, type Attached } from "./attach.js";
import { autoLora, type AutoLoraConfig } from "./auto-lora.js";
import { autoLoraParameters, hypergradient, type HypergradientOptions } from "./hypergradient.js";
import { lora } from "./lora.js";
import { rankPattern } from "./rank-pattern.js";
import { selectedRanks } from "./search-ranks.js";
import { contractChecks } from "./testing.js";

beforeAll(async () => setDefaultBackend(await testBackend()));

for (const selection of ["softmax", "sigmoid", "free"] as const) {
  describe(`selection by ${selection}`, () => {
    const count = ({ inFeatures, outFeatures }: { inFeatures: number; outFeatures: number }): number =>
      3 * (inFeatures + outFeatures) + 3;
    for (const check of contractChecks(autoLora, { rank: 3, alpha: 5, selection }, { count })) {
      test(check.name, check.run);
    }
  });
}

const x = normal([5, 12], { key: key(1) });
const layer = (): Sequential => new Sequential(new Linear(12, 8, { key: key(2) }));

async function bench(config: AutoLoraConfig = {}) {
  const model = layer();
  const adapted = await randomised(attach(model, autoLora, { rank: 4, ...config }, { targets: ["0"] }), 3);
  return { model, adapted, params: adapted.places[0]!.entry.params, run: () => read(model.forward(x)) };
}

describe("autoLora", () => {
  test("is the LoRA with B diag(α) and A", async () => {
    const { params, run } = await bench({ alpha: 6 });
    const model = layer();
    const { entry } = attach(model, lora, { rank: 4, alpha: 6 }, { targets: ["0"] }).places[0]!;
    const { A, B, beta } = params as Record<string, Tensor>;
    entry.params["A"]!.replace(A!);
    entry.params["B"]!.replace(B!.mul(beta!.sub(beta!.max()).exp().div(beta!.sub(beta!.max()).exp().sum())));
    close(await run(), await read(model.forward(x)), 1e-6);
  });

  test("with equal variables it is LoRA at 1/k of the scale", async () => {
    const { params, run } = await bench({ rank: 8, alpha: 16 });
    params["beta"]!.replace(tensor(new Float32Array(8).fill(1)));
    const model = layer();
    const { entry } = attach(model, lora, { rank: 8, alpha: 2 }, { targets: ["0"] }).places[0]!; // 2/8 = (16/8)/8
    for (const field of ["A", "B"]) entry.params[field]!.replace(params[field]!);
    close(await run(), await read(model.forward(x)), 1e-6);
  });

  test("a constant added to all variables of a layer changes nothing", async () => {
    const { params, run } = await bench();
    const before = await run();
    await evaluate(params["beta"]!.assign(params["beta"]!.add(3)));
    close(await run(), before, 1e-6);
  });

  test("rank-one updates may change places", async () => {
    const { params, adapted, run } = await bench();
    const [before, ranks] = [await run(), await selectedRanks(adapted)];
    const { A, B, beta } = params as Record<"A" | "B" | "beta", Parameter>;
    await evaluate(A.assign(flip(A, 0)), B.assign(flip(B, 1)), beta.assign(flip(beta, 0)));
    close(await run(), before, 1e-6);
    expect(await selectedRanks(adapted)).toEqual(ranks);
  });

  test.each([
    [{ rank: 9 }, /rank to be an integer from 1 to 8/],
    [{ dropout: 1 }, /dropout/],
    [{ selection: "hard" as "free" }, /selection to be one of "softmax", "sigmoid", "free"/],
  ])("refuses %o", (config, message) => {
    expect(() => attach(layer(), autoLora, config, { targets: ["0"] })).toThrow(message);
  });
});

describe("the ranks that are selected", () => {
  const ranksOf = async (
    betas: number[],
    config: AutoLoraConfig = {},
    count?: "variables",
  ): Promise<number> => {
    const { adapted, params } = await bench({ rank: betas.length, ...config });
    params["beta"]!.replace(tensor(betas));
    return (await selectedRanks(adapted, { count }))["0"]!;
  };

  test("are k where all weights are equal, also where softmax rounds them below 1/k", async () => {
    for (let k = 1; k <= 8; k++) expect(await ranksOf(new Array(k).fill(1))).toBe(k);
  });

  test("count the weights of at least 1/k, and one at least", async () => {
    expect(await ranksOf([2, 2, 0, 0])).toBe(2);
    expect(await ranksOf([9, 0, 0, 0])).toBe(1);
    expect(await ranksOf([-1, 1, 0.5, -1], { selection: "sigmoid" })).toBe(2);
    expect(await ranksOf([-1, -2, -3], { selection: "sigmoid" })).toBe(1);
    expect(await ranksOf([0.4, 0.3, 0.1, 0.2], { selection: "free" })).toBe(2);
  });

  test("may count the variables against their mean, which is a lower bar than softmax sets", async () => {
    expect(await ranksOf([3, 1.9, 1, 1], {}, "variables")).toBe(2);
    expect(await ranksOf([3, 1.9, 1, 1])).toBe(1);
  });

  test("as a pattern they give each layer its own rank", () => {
    const model = new Sequential(new Linear(4, 4), new Sequential(new Linear(4, 4)), new Linear(4, 4));
    const ranks = { "0": 1, "2": 2, "1.0": 3 };
    const adapted = attach(
      model,
      lora,
      { rank: 1 },
      { targets: Object.keys(ranks), rankPattern: rankPattern(ranks) },
    );
    expect(
      Object.fromEntries(adapted.report().layers.map(({ path, parameters }) => [path, parameters / 8])),
    ).toEqual(ranks);
  });
});

/** A least-squares problem in f64: 6 in, 5 out, k = 4, two parts of the data. */
async function leastSquares(
  k = 4,
): Promise<{ adapted: Attached; train: () => Tensor; validation: () => Tensor }> {
  const model = new Sequential(new Linear(6, 5, { key: key(4), dtype: "f64" }));
  const adapted = attach(model, autoLora, { rank: k }, { targets: ["0"], dtype: "f64" });
  for (const [path, p] of adapted.parameters()) {
    p.replace(normal(p.shape, { key: key(5).foldName(path), dtype: "f64" }));
  }
  const part = (seed: number): (() => Tensor) => {
    const [inputs, wanted] = [6, 5].map((n, i) => normal([9, n], { key: key(seed).fold(i), dtype: "f64" }));
    return () => mse(model.forward(inputs!), wanted!);
  };
  return { adapted, train: part(6), validation: part(7) };
}

const only = (grads: ReadonlyMap<string, Tensor>): Tensor => [...grads.values()][0]!;

describe("the hypergradient", () => {
  /** By central differences of β ↦ L_val(w − η ∇_w L_tr(w, β), β). */
  async function differences(
    { adapted, train, validation }: Awaited<ReturnType<typeof leastSquares>>,
    lookAhead: number,
  ) {
    const beta = adapted.places[0]!.entry.params["beta"]!;
    const start = await read(beta);
    const h = 1e-4;
    const at = async (values: number[]): Promise<number> => {
      beta.replace(tensor(values, { dtype: "f64" }));
      return hypergradient(adapted, train, validation, { lookAhead }).value.item();
    };
    const slopes: number[] = [];
    for (const i of start.keys()) {
      const moved = (step: number): number[] => start.map((b, j) => (j === i ? b + step : b));
      slopes.push(((await at(moved(h))) - (await at(moved(-h)))) / (2 * h));
    }
    beta.replace(tensor(start, { dtype: "f64" }));
    return slopes;
  }
  const of = async (
    problem: Awaited<ReturnType<typeof leastSquares>>,
    options: HypergradientOptions,
  ): Promise<number[]> =>
    read(only(hypergradient(problem.adapted, problem.train, problem.validation, options).grads));
  const worst = (a: number[], b: number[]): number => Math.max(...a.map((v, i) => Math.abs(v - b[i]!)));

  test("agrees with central differences to 1e-6, exact and by the paper's differences; the direct term alone does not", async () => {
    const problem = await leastSquares();
    const lookAhead = 0.01;
    const want = await differences(problem, lookAhead);
    expect(worst(await of(problem, { lookAhead }), want)).toBeLessThan(1e-7);
    expect(worst(await of(problem, { lookAhead, method: "differences" }), want)).toBeLessThan(1e-6);
    const { adapted, train, validation } = problem;
    const w = autoLoraParameters(adapted).weights.map(([, p]) => p);
    const { value, grads } = hypergradient(adapted, train, validation, { lookAhead, method: "differences" });
    expect(await value.item()).toBeGreaterThan(0);
    expect(w).toHaveLength(2);
    expect(worst(await of(problem, { lookAhead: 0 }), want)).toBeGreaterThan(1e-4);
    expect(grads.size).toBe(1);
  });

  test("with a step of length 0 it is the gradient of the validation loss", async () => {
    const problem = await leastSquares();
    const beta = problem.adapted.places[0]!.entry.params["beta"]!;
    const want = await read(gradients(problem.validation(), [beta])[0]!);
    for (const method of ["exact", "differences"] as const) {
      expect(worst(await of(problem, { lookAhead: 0, method }), want)).toBeLessThan(1e-12);
    }
  });

  test("adds up to zero over a layer", async () => {
    const slopes = await of(await leastSquares(), { lookAhead: 0.1 });
    expect(Math.max(...slopes.map(Math.abs))).toBeGreaterThan(1e-3);
    expect(Math.abs(slopes.reduce((a, b) => a + b))).toBeLessThan(1e-12);
  });

  test("is zero for a single component, which is then LoRA", async () => {
    expect(await of(await leastSquares(1), { lookAhead: 0.1 })).toEqual([0]);
  });

  test("at the start, where the plain gradient is zero, it is not", async () => {
    const problem = await leastSquares();
    const { B, beta } = problem.adapted.places[0]!.entry.params;
    await evaluate(B!.assign(B!.mul(0)));
    expect((await read(gradients(problem.validation(), [beta!])[0]!)).every((g) => g === 0)).toBe(true);
    expect(Math.max(...(await of(problem, { lookAhead: 0.1 })).map(Math.abs))).toBeGreaterThan(1e-4);
  });

  test("leaves every parameter as it is, bit for bit", async () => {
    const problem = await leastSquares();
    const all = [...problem.adapted.parameters()].map(([, p]) => p);
    const before = await Promise.all(all.map(read));
    for (const method of ["exact", "differences"] as const) await of(problem, { lookAhead: 0.1, method });
    expect(await Promise.all(all.map(read))).toEqual(before);
  });

  test("refuses an adapter that is another", () => {
    const model = layer();
    const adapted = attach(model, lora, { rank: 2 }, { targets: ["0"] });
    const loss = (): Tensor => model.forward(x).square().sum();
    expect(() => hypergradient(adapted, loss, loss, { lookAhead: 0.1 })).toThrow(
      /autoLora, got lora "default"/,
    );
    expect(valueAndGrad(model, loss)().grads.size).toBe(2);
  });
});
