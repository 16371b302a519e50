import { Linear, mse, Sequential, valueAndGrad, withContext } from "@lowrank/nn";
import { AdamW } from "@lowrank/optim";
import {
  concat,
  evaluate,
  gradients,
  key,
  normal,
  type Parameter,
  setDefaultBackend,
  sign,
  type Tensor,
  tensor,
} from "@lowrank/tensor";
import { beforeAll, describe, expect, test } from "vitest";
import { testBackend } from "../test/backend.js";
import { close, randomised, read } from "../test/layers.js";
import { attach, type Attached } from "./attach.js";
import { type Routing, type RoutingReport, routeTokens, withRouting } from "./expert-routing.js";
import { lora } from "./lora.js";
import { regularized } from "./regularized.js";
import { sira, type SiraConfig } from "./sira.js";
import { contractChecks } from "./testing.js";

beforeAll(async () => setDefaultBackend(await testBackend()));

const formula = (E: number, r: number) => ({
  count: ({ inFeatures, outFeatures }: { inFeatures: number; outFeatures: number }) =>
    E * (r * (inFeatures + outFeatures)) + E * inFeatures,
});
for (const [config, E, r] of [
  [{ experts: 6, topK: 2, rank: 3, alpha: 5 }, 6, 3],
  [{ experts: 1, rank: 2, alpha: 3 }, 1, 2],
] as const) {
  describe(`${E} experts`, () => {
    for (const check of contractChecks(sira, config, formula(E, r))) test(check.name, check.run);
  });
}

const SIZES = { in: 12, out: 8, rows: 3, length: 5 };
const TOKENS = SIZES.rows * SIZES.length;
const x = normal([SIZES.rows, SIZES.length, SIZES.in], { key: key(1) });
const layer = (): Sequential =>
  new Sequential(new Linear(SIZES.in, SIZES.out, { key: key(2) })).eval() as Sequential;

interface Bench {
  readonly model: Sequential;
  readonly adapted: Attached;
  readonly run: (routing?: Routing, input?: Tensor) => Promise<number[]>;
  /** Decisions for an input. */
  readonly decisions: (routing?: Routing, input?: Tensor) => RoutingReport;
  readonly params: Readonly<Record<string, Tensor>>;
}

/** A layer with SiRA away from its start. */
async function bench(config: SiraConfig = {}): Promise<Bench> {
  const model = layer();
  const given = { experts: 5, topK: 2, rank: 2, ...config };
  const adapted = await randomised(attach(model, sira, given, { targets: ["0"] }), 3);
  const run = (routing: Routing = {}, input: Tensor = x): Promise<number[]> =>
    read(withRouting(routing, () => model.forward(input)));
  const decisions = (routing: Routing = {}, input: Tensor = x): RoutingReport => {
    let report: RoutingReport | undefined;
    withRouting({ ...routing, observe: (seen) => (report = seen) }, () => model.forward(input));
    return report!;
  };
  return { model, adapted, run, decisions, params: adapted.places[0]!.entry.params };
}

/** s B_e A_e x for every expert e, [tokens][experts][out]. */
async function expertResults({ A, B }: Readonly<Record<string, Tensor>>, experts: number, rank: number) {
  const [a, b, input] = [await read(A!), await read(B!), await read(x)];
  const dot = (n: number, f: (i: number) => number): number => {
    let sum = 0;
    for (let i = 0; i < n; i++) sum += f(i);
    return sum;
  };
  return Array.from({ length: TOKENS }, (_, s) =>
    Array.from({ length: experts }, (_, e) => {
      const low = Array.from({ length: rank }, (_, r) =>
        dot(SIZES.in, (i) => a[(e * rank + r) * SIZES.in + i]! * input[s * SIZES.in + i]!),
      );
      return Array.from({ length: SIZES.out }, (_, o) =>
        dot(rank, (r) => b[o * experts * rank + e * rank + r]! * low[r]!),
      );
    }),
  );
}

/** W x + Σ_e weight[s][e] · results[s][e] */
function mixture(bare: number[], results: number[][][], weight: (s: number, e: number) => number): number[] {
  return bare.map((y, i) => {
    const [s, o] = [Math.floor(i / SIZES.out), i % SIZES.out];
    return results[s]!.reduce((sum, result, e) => sum + weight(s, e) * result[o]!, y);
  });
}

const bare = (): Promise<number[]> => read(layer().forward(x));

describe("sira", () => {
  test("with every B at zero it is the base bit for bit, however tokens are routed", async () => {
    const { adapted, run, params } = await bench({ evaluationCapacity: 1 });
    await evaluate(adapted.places[0]!.entry.params["B"]!.assign(params["B"]!.mul(0)));
    expect(await run()).toEqual(await bare());
  });

  test("with one expert it is LoRA", async () => {
    const { run, params } = await bench({ experts: 1, topK: 1, alpha: 3 });
    const model = layer();
    const { entry } = attach(model, lora, { rank: 2, alpha: 3 }, { targets: ["0"] }).places[0]!;
    for (const field of ["A", "B"]) entry.params[field]!.replace(params[field]!);
    close(await run(), await read(model.forward(x)), 1e-6);
  });

  test("with all experts chosen it is the dense mixture Σ g_e s B_e A_e x", async () => {
    const { run, params, decisions } = await bench({ topK: 5 });
    const g = await read(decisions().probabilities);
    close(
      await run(),
      mixture(await bare(), await expertResults(params, 5, 2), (s, e) => g[s * 5 + e]!),
      1e-5,
    );
  });

  test("a token gets its K likeliest experts, weighted by the softmax over all", async () => {
    const { run, params, decisions } = await bench();
    const g = await read(decisions().probabilities);
    const weight = (s: number, e: number): number => {
      const own = g.slice(s * 5, s * 5 + 5);
      return [...own].sort((a, b) => b - a).indexOf(own[e]!) < 2 ? own[e]! : 0;
    };
    close(await run(), mixture(await bare(), await expertResults(params, 5, 2), weight), 1e-5);
  });

  test("with equal experts it is one LoRA times the sum of the chosen weights", async () => {
    const { run, params, adapted, decisions } = await bench();
    const p = adapted.places[0]!.entry.params;
    const copies = (t: Tensor, axis: number): Tensor =>
      concat(
        Array.from({ length: 5 }, () => t),
        axis,
      );
    const [first, second] = [params["A"]!.slice([[0, 2]]), params["B"]!.slice([null, [0, 2]])];
    await evaluate(first, second);
    p["A"]!.replace(copies(first, 0));
    p["B"]!.replace(copies(second, 1));
    const { probabilities, accepted } = decisions();
    const total = await read(probabilities.mul(accepted).sum(1));
    const results = await expertResults(p, 5, 2);
    close(
      await run(),
      mixture(await bare(), results, (s, e) => (e === 0 ? total[s]! : 0)),
      1e-5,
    );
  });

  test("renormalised weights of a token add up to 1", async () => {
    const { run, params, decisions } = await bench({ renormalize: true });
    const { probabilities, accepted } = decisions();
    const [g, taken] = [await read(probabilities), await read(accepted)];
    const chosen = (s: number): number =>
      [0, 1, 2, 3, 4].reduce((sum, e) => sum + g[s * 5 + e]! * taken[s * 5 + e]!, 0);
    const weight = (s: number, e: number): number => (g[s * 5 + e]! * taken[s * 5 + e]!) / chosen(s);
    close(await run(), mixture(await bare(), await expertResults(params, 5, 2), weight), 1e-5);
  });

  test("experts may change places", async () => {
    const { run, adapted } = await bench();
    const before = await run();
    const order = [3, 1, 4, 0, 2];
    const { G, A, B } = adapted.places[0]!.entry.params as Record<"G" | "A" | "B", Parameter>;
    const pick = (t: Tensor, axis: 0 | 1, width: number): Tensor =>
      concat(
        order.map((e) =>
          t.slice(axis === 0 ? [[e * width, e * width + width]] : [null, [e * width, e * width + width]]),
        ),
        axis,
      );
    G.replace(pick(tensor(await G.data(), { shape: G.shape }), 0, 1));
    A.replace(pick(tensor(await A.data(), { shape: A.shape }), 0, 2));
    B.replace(pick(tensor(await B.data(), { shape: B.shape }), 1, 2));
    close(await run(), before, 1e-5);
  });

  test("no expert takes more tokens than its capacity, and with room for all none is turned away", async () => {
    for (const [capacity, places] of [
      [1, 6],
      [0.5, 3],
      [2.5, 15],
    ] as const) {
      const { decisions } = await bench({ evaluationCapacity: capacity });
      const { accepted, requested } = decisions();
      const counts = await read(accepted.sum(0));
      const asked = await read(requested.sum(0));
      expect(Math.max(...counts)).toBeLessThanOrEqual(places);
      expect(counts).toEqual(asked.map((n) => Math.min(n, places)));
      expect(asked.reduce((a, b) => a + b)).toBe(2 * TOKENS);
    }
  });

  test("an expert with room for 2 takes the first two of the tokens that choose it", async () => {
    const chosen = tensor(Int32Array.from([0, 0, 0, 1]), { shape: [4, 1] });
    const options = { path: "layer", topK: 1, capacity: 1, mask: null, chosen };
    const { accepted } = routeTokens(normal([4, 2], { key: key(4) }), options);
    expect(await read(accepted.sum(1))).toEqual([1, 1, 0, 1]);
  });

  test("all first choices come before all second ones", async () => {
    const chosen = tensor(Int32Array.from([1, 0, 0, 1, 0, 1]), { shape: [3, 2] }); // C = ⌈⅔ · 2 · 3 / 2⌉ = 2
    const options = { path: "layer", topK: 2, capacity: 2 / 3, mask: null, chosen };
    const { accepted } = routeTokens(normal([3, 2], { key: key(4) }), options);
    expect(await read(accepted)).toEqual([0, 1, 1, 1, 1, 0]); // the first token's second choice, 0, was full
  });

  test("evaluated twice it gives the same, and a token's result does not hang on the others", async () => {
    const { run } = await bench();
    const whole = await run();
    expect(await run()).toEqual(whole);
    for (let row = 0; row < SIZES.rows; row++) {
      const alone = await run({}, x.slice([[row, row + 1]]));
      close(alone, whole.slice(row * 40, row * 40 + 40), 1e-6);
    }
  });

  test("the balance term is K/E² at perfect balance and 1/E when all goes to one expert", async () => {
    const even = tensor(Int32Array.from([0, 1, 1, 2, 2, 3, 3, 0]), { shape: [4, 2] });
    const options = { path: "layer", capacity: null, mask: null };
    const flat = routeTokens(tensor(new Float32Array(16), { shape: [4, 4] }), {
      ...options,
      topK: 2,
      chosen: even,
    });
    expect(await flat.balance.item()).toBeCloseTo(2 / 16, 7);
    const steep = tensor(
      [
        [100, 0, 0, 0],
        [100, 0, 0, 0],
      ].flat(),
      { shape: [2, 4] },
    );
    const one = routeTokens(steep, { ...options, topK: 1, chosen: null });
    expect(await one.balance.item()).toBeCloseTo(1 / 4, 7);
  });

  test("the balance term has the gradient c_e / (E S²) for each probability", async () => {
    const { decisions } = await bench();
    const { balance, probabilities, requested } = decisions();
    const [grad] = gradients(balance, [probabilities]);
    const counts = requested.sum(0);
    await evaluate(grad!, counts);
    const want = (await read(counts)).map((c) => c / (5 * TOKENS ** 2));
    close(await read(grad!), Array.from({ length: TOKENS }, () => want).flat(), 1e-8);
  });

  test("the loss gets the balance of every layer, only while training", async () => {
    const model = new Sequential(new Linear(12, 12, { key: key(2) }), new Linear(12, 8, { key: key(5) }));
    const config = { experts: 5, topK: 2, rank: 2, balance: 0.3, expertDropout: 0 };
    await randomised(attach(model, sira, config, { targets: ["0", "1"] }), 6);
    const seen: Tensor[] = [];
    const loss = (): Tensor => model.forward(x).square().mean();
    const whole = withRouting({ observe: ({ balance }) => seen.push(balance) }, () =>
      regularized(model, loss),
    );
    const [total, task] = [await whole.item(), await loss().item()];
    const terms = (await seen[0]!.item()) + (await seen[1]!.item());
    expect(seen).toHaveLength(2);
    expect(Math.abs(total - task - 0.3 * terms)).toBeLessThan(1e-6 * task + 1e-6);
    model.eval();
    expect(await regularized(model, loss).item()).toBe(await loss().item());
  });

  test("at the start the task moves no gate, the balance does", async () => {
    const grads = (balance: number): Map<string, Tensor> => {
      const model = layer().train() as Sequential;
      attach(model, sira, { experts: 4, rank: 2, topK: 2, expertDropout: 0, balance }, { targets: ["0"] });
      return valueAndGrad(model, () => regularized(model, () => model.forward(x).square().sum()))().grads;
    };
    const gate = async (g: Map<string, Tensor>): Promise<number> =>
      Math.max(...(await read([...g].find(([path]) => path.includes("_G."))![1])).map(Math.abs));
    expect(await gate(grads(0))).toBe(0);
    expect(await gate(grads(1))).toBeGreaterThan(0);
  });

  test("without dropout and capacity training computes what evaluation does", async () => {
    const { model, run } = await bench({ expertDropout: 0, capacity: null });
    const evaluated = await run();
    model.train();
    expect(await run()).toEqual(evaluated);
  });

  test("dropped logits are 0 and the others are divided by 1 − p", async () => {
    const { model, decisions, params } = await bench({ expertDropout: 0.5, capacity: null });
    const logits = await read(x.reshape([TOKENS, 12]).matmul(params["G"]!.T));
    model.train();
    const g = await read(withContext({ key: key(7) }, () => decisions()).probabilities);
    // log g_e is the logit up to a constant of its token: pick the one that makes all logits 0 or 2 l
    for (let s = 0; s < TOKENS; s++) {
      const own = g.slice(s * 5, s * 5 + 5).map(Math.log);
      const l = logits.slice(s * 5, s * 5 + 5);
      const fits = (shift: number): boolean =>
        own.every((v, e) => Math.min(Math.abs(v - shift), Math.abs(v - shift - 2 * l[e]!)) < 1e-3);
      expect([own[0]!, own[0]! - 2 * l[0]!].some(fits)).toBe(true);
    }
    expect(() => model.forward(x)).toThrow(/key/);
  });

  test("dropped experts are never chosen, and K are always left", async () => {
    const { model, decisions } = await bench({ expertDropout: 0.8, dropout: "expert", capacity: null });
    model.train();
    const { probabilities, requested } = withContext({ key: key(8) }, () => decisions());
    const [g, asked] = [await read(probabilities), await read(requested)];
    expect(g.filter((p) => p === 0).length).toBeGreaterThan(TOKENS); // most are out
    for (const [i, n] of asked.entries()) if (n === 1) expect(g[i]).toBeGreaterThan(0);
    for (let s = 0; s < TOKENS; s++) {
      expect(g.slice(s * 5, s * 5 + 5).filter((p) => p > 0).length).toBeGreaterThanOrEqual(2);
    }
  });

  test("padding takes no place, counts nowhere and gets the base", async () => {
    const { run, decisions } = await bench({ evaluationCapacity: 1 });
    const padded = concat([normal([SIZES.rows, 4, 12], { key: key(9) }), x], 1); // padding first
    const mask = tensor(
      Int32Array.from({ length: 27 }, (_, i) => (i % 9 < 4 ? 0 : 1)),
      { shape: [3, 9] },
    );
    const [y, alone] = [await run({ mask }, padded), await run()];
    for (let row = 0; row < 3; row++)
      close(y.slice(row * 72 + 32, row * 72 + 72), alone.slice(row * 40, row * 40 + 40), 1e-6);
    const base = await read(layer().forward(padded));
    expect(y.slice(0, 32)).toEqual(base.slice(0, 32));
    const [a, b] = [decisions({ mask }, padded), decisions()];
    expect(await a.balance.item()).toBeCloseTo(await b.balance.item(), 6);
    expect(await read(a.requested.sum(0))).toEqual(await read(b.requested.sum(0)));
    expect(() => run({ mask })).toThrow(/a mask for the 15 tokens/);
  });

  test("rows go to the experts that they are given", async () => {
    const { run, decisions, params } = await bench();
    const experts = [
      [0, 1],
      [4, 2],
      [3, 0],
    ];
    const g = await read(decisions().probabilities);
    const weight = (s: number, e: number): number =>
      experts[Math.floor(s / 5)]!.includes(e) ? g[s * 5 + e]! : 0;
    close(await run({ experts }), mixture(await bare(), await expertResults(params, 5, 2), weight), 1e-5);
    expect(() => run({ experts: [[0, 1]] })).toThrow(/1 rows first/);
    expect(() =>
      run({
        experts: [
          [0, 1],
          [2, 2],
          [0, 5],
        ],
      }),
    ).toThrow(/2 different experts from 0 to 4/);
  });

  test("sequences may be routed whole, by the mean of their tokens", async () => {
    const { run, decisions, params } = await bench({ routing: "sequence" });
    const { probabilities, accepted } = decisions();
    expect(accepted.shape).toEqual([3, 5]);
    const [g, taken] = [await read(probabilities), await read(accepted)];
    const weight = (s: number, e: number): number =>
      g[Math.floor(s / 5) * 5 + e]! * taken[Math.floor(s / 5) * 5 + e]!;
    close(await run(), mixture(await bare(), await expertResults(params, 5, 2), weight), 1e-5);
    const mask = tensor(
      Int32Array.from({ length: 27 }, (_, i) => (i % 9 < 5 ? 1 : 0)),
      { shape: [3, 9] },
    );
    const padded = concat([x, normal([3, 4, 12], { key: key(9) })], 1);
    const y = await run({ mask }, padded);
    const whole = await run();
    for (let row = 0; row < 3; row++)
      close(y.slice(row * 72, row * 72 + 40), whole.slice(row * 40, row * 40 + 40), 1e-5);
  });

  test("trained with its balance, it fits what one small LoRA cannot", async () => {
    // Two groups of inputs, told apart by their first number, each with a map of its own.
    const inputs = normal([64, 12], { key: key(10) });
    const side = sign(inputs.slice([null, [0, 1]]));
    const maps = [11, 12].map((seed) => normal([12, 8], { key: key(seed), std: 0.3 }));
    const wanted = layer()
      .forward(inputs)
      .add(inputs.matmul(maps[0]!).mul(side.add(1).mul(0.5)))
      .add(inputs.matmul(maps[1]!).mul(side.sub(1).mul(-0.5)));
    await evaluate(wanted);
    const trained = async (attachTo: (model: Sequential) => Attached): Promise<number> => {
      const model = layer().train() as Sequential;
      attachTo(model);
      const optimizer = new AdamW(model.trainableParameters(), { lr: 0.02 });
      const step = valueAndGrad(model, () => regularized(model, () => mse(model.forward(inputs), wanted)));
      for (let i = 0; i < 150; i++) {
        await optimizer.step(withContext({ key: key(13).fold(i) }, () => step()).grads);
      }
      return mse((model.eval() as Sequential).forward(inputs), wanted).item();
    };
    const config = { experts: 4, topK: 1, rank: 8, expertDropout: 0.1, capacity: 2 };
    const sparse = await trained((model) => attach(model, sira, config, { targets: ["0"] }));
    const plain = await trained((model) => attach(model, lora, { rank: 8 }, { targets: ["0"] }));
    expect(sparse).toBeLessThan(0.5 * plain);
  });

  test.each([
    [{ experts: 0 }, /experts to be an integer of at least 1/],
    [{ experts: 3, topK: 4 }, /topK to be an integer from 1 to 3/],
    [{ rank: 9 }, /rank to be an integer from 1 to 8/],
    [{ capacity: 0 }, /capacity/],
    [{ expertDropout: 1 }, /expertDropout/],
    [{ balance: -1 }, /balance/],
    [{ dropout: "some" as "logit" }, /dropout to be one of "logit", "expert"/],
  ])("refuses %o", (config, message) => {
    expect(() => attach(layer(), sira, config, { targets: ["0"] })).toThrow(message);
  });
});
