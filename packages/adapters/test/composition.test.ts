import { fileURLToPath } from "node:url";
import {
  attach,
  attachUpdates,
  type Attached,
  checkpointUpdates,
  combineUpdates,
  dora,
  hra,
  loadPeft,
  lora,
  type LoraUpdates,
  loraUpdates,
  mergeCheckpoints,
  mergeTensors,
  peftFiles,
  pissa,
  truncateUpdates,
  vera,
  weightUpdates,
} from "@lowrank/adapters";
import { reconstruct, svd, truncatedSvd } from "@lowrank/linalg";
import { Embedding, Linear, Module, Sequential } from "@lowrank/nn";
import { ConfigError, evaluate, key, normal, setDefaultBackend, type Tensor, tensor } from "@lowrank/tensor";
import { beforeAll, describe, expect, test } from "vitest";
import { type Goldens, readGoldens } from "../../models/test/golden-files.js";
import { testBackend } from "./backend.js";
import { close, randomised, read } from "./layers.js";

let golden: Goldens;
beforeAll(async () => {
  setDefaultBackend(await testBackend());
  golden = await readGoldens(fileURLToPath(new URL("./goldens/compositions.safetensors", import.meta.url)));
});

/** The network of test/goldens/make_compositions.py. */
class Net extends Module {
  embed = new Embedding(10, 8, { key: key(1) });
  up = new Linear(8, 12, { key: key(2) });
  forward(ids: Tensor): Tensor {
    return this.up.forward(this.embed.forward(ids));
  }
}
const net = (): Net => new Net().eval() as Net;
const TARGETS = { targets: ["embed", "up"] };
const ids = tensor(Int32Array.from([0, 3, 9, 4]), { dtype: "i32" });

/** The adapters "a" and "b" of the goldens. */
function goldenParts(useRslora = false): LoraUpdates[] {
  return ["a", "b"].map((name, i) => {
    const attached = attach(net(), lora, { rank: 3, alpha: [6, 4.5][i]!, useRslora }, TARGETS);
    for (const { entry } of attached.places)
      for (const field of ["A", "B"])
        entry.params[field]!.replace(golden.tensor(`${name}.${entry.target.path}.${field}`));
    return loraUpdates(attached);
  });
}

const change = ({ A, B, scale }: { A: Tensor; B: Tensor; scale: number }): Tensor => B.matmul(A).mul(scale);
const changes = async (updates: LoraUpdates): Promise<Record<string, number[]>> =>
  Object.fromEntries(
    await Promise.all([...updates].map(async ([path, u]) => [path, await read(change(u))] as const)),
  );

describe("two LoRAs in one, against add_weighted_adapter of PEFT", () => {
  const weights = [0.7, -0.4];
  test.each([
    ["cat", {}],
    ["svd", { keep: { rank: 2 } }],
    ["linear", { on: "factors" }],
    ["ties", { on: "factors", by: "ties", density: 0.6 }],
    ["ties_count", { on: "factors", by: "ties", density: 0.6, elect: "count" }],
    ["magnitude_prune", { on: "factors", by: "prune", density: 0.5 }],
    ["ties_svd", { by: "ties", density: 0.6 }],
    ["magnitude_prune_svd", { by: "prune", density: 0.5 }],
  ] as const)("%s gives the same change of the weights", async (name, options) => {
    const got = await changes(await combineUpdates(goldenParts(), { weights, ...options }));
    for (const path of ["embed", "up"]) close(got[path]!, golden.numbers(`${name}.${path}`), 1e-5);
  });

  test("with rsLoRA the sum is the sum, where PEFT's comes out √r times as large", async () => {
    const updates = await combineUpdates(goldenParts(true), { weights });
    const got = await changes(updates);
    for (const path of ["embed", "up"]) close(got[path]!, golden.numbers(`rslora.${path}`), 1e-5);
    const attached = await attachUpdates(net(), updates);
    expect(loraUpdates(attached).get("up")!.scale).toBe(1);
  });
});

describe("a combined adapter", () => {
  const two = async (): Promise<{ model: Net; parts: [Attached, Attached] }> => {
    const model = net();
    const parts: [Attached, Attached] = [
      await randomised(attach(model, lora, { rank: 2, alpha: 3 }, { ...TARGETS, name: "a" }), 1, 0.4),
      await randomised(attach(model, lora, { rank: 3, alpha: 12 }, { targets: ["up"], name: "b" }), 2, 0.4),
    ];
    return { model, parts };
  };

  test("of the factors side by side computes the sum of what its parts do, ranks and layers apart", async () => {
    const { model, parts } = await two();
    const x = normal([4, 8], { key: key(5) });
    const only = async (...on: Attached[]): Promise<number[]> => {
      for (const part of parts) part.enable(on.includes(part));
      return read(model.up.forward(x));
    };
    const [bare, a, b] = [await only(), await only(parts[0]), await only(parts[1])];
    await only();
    await attachUpdates(model, await combineUpdates(parts.map(loraUpdates), { weights: [2, -0.5] }), {
      name: "ab",
    });
    const sum = bare.map((y, i) => y + 2 * (a[i]! - y) - 0.5 * (b[i]! - y));
    close(await read(model.up.forward(x)), sum, 1e-5);
  });

  test("with the weight -1 takes away what its part does", async () => {
    const { model, parts } = await two();
    parts[1].disable();
    const minus = await attachUpdates(
      model,
      await combineUpdates([loraUpdates(parts[0])], { weights: [-1] }),
      {
        name: "minus",
      },
    );
    await minus.merge();
    close(await read(model.forward(ids)), await read(net().forward(ids)), 1e-5);
  });

  test("is saved with its ranks by layer and read again bit for bit", async () => {
    const { model, parts } = await two();
    const attached = await attachUpdates(model, await combineUpdates(parts.map(loraUpdates)), { name: "ab" });
    expect(attached.places.map(({ entry }) => entry.params["A"]!.shape[0])).toEqual([2, 5]);
    const files = await peftFiles(attached);
    const other = net();
    const loaded = await loadPeft(other, files);
    for (const part of parts) part.disable();
    expect(await read(other.forward(ids))).toEqual(await read(model.forward(ids)));
    expect(await peftFiles(loaded)).toEqual(files);
  });

  test("whose ranks add up to more than a layer has is recompressed, still exactly", async () => {
    const parts = [1, 2, 3, 4].map(() => goldenParts()[0]!);
    const updates = await combineUpdates(parts);
    expect(updates.get("up")!.A.shape).toEqual([8, 8]);
    const once = await changes(parts[0]!);
    close(
      (await changes(updates))["up"]!,
      once["up"]!.map((x) => 4 * x),
      1e-5,
    );
  });

  test("with DARE at density 1 is the sum, and over many draws its mean is", async () => {
    const parts = goldenParts();
    const weights = [0.7, -0.4];
    const sum = golden.numbers("cat.up");
    const dare = async (density: number, seed: number): Promise<number[]> =>
      read(
        mergeTensors(
          parts.map((part) => change(part.get("up")!)),
          { by: "dare", weights, density, key: key(seed) },
        ),
      );
    close(await dare(1, 0), sum, 1e-6);
    const mean = new Float64Array(sum.length);
    const draws = 400;
    for (let i = 0; i < draws; i++)
      for (const [j, x] of (await dare(0.5, i)).entries()) mean[j]! += x / draws;
    const size = Math.hypot(...sum);
    // √((1 − ρ) / ρ / draws) = 0.05 of an entry
    expect(Math.hypot(...sum.map((x, j) => x - mean[j]!)) / size).toBeLessThan(0.15);
  });

  test.each([
    [
      "parts of one rank",
      { on: "factors" } as const,
      /two factors of one rank in every part at up.*ranks 2, 3/,
    ],
    ["a density", { by: "ties" } as const, /density above 0, up to 1, for "ties", got undefined/],
    ["no density for a sum", { density: 0.5 } as const, /no density beside "sum"/],
    ["a weight for each part", { weights: [1] } as const, /2 weights, got 1/],
    ["one rule of cutting", { keep: {} } as const, /one of rank and energy, got none/],
  ])("asks for %s", async (_, options, message) => {
    const { parts } = await two();
    const run = combineUpdates(parts.map(loraUpdates), options as object);
    await expect(run).rejects.toThrow(message);
    await expect(run).rejects.toBeInstanceOf(ConfigError);
  });

  test("of different models is refused with the layer's name", async () => {
    const other = attach(new Sequential(new Linear(4, 4)), lora, { rank: 1 }, { targets: ["0"] });
    const renamed = new Map([["up", loraUpdates(other).get("0")!]]);
    await expect(combineUpdates([goldenParts()[0]!, renamed])).rejects.toThrow(
      /up to be a layer of kind linear of 8 in, 12 out in every part, got linear of 4 in, 4 out/,
    );
  });
});

describe("the rules", () => {
  const t = (...x: number[]): Tensor => tensor(Float32Array.from(x));
  const [a, b] = [t(1, -2, 3, 0.1), t(-0.5, -1, 2, -4)];

  test("TIES of two vectors, worked by hand", async () => {
    // kept [0, -2, 3, 0] and [0, 0, 2, -4]; elected +, -, +, -
    const result = await read(mergeTensors([a, b], { by: "ties", density: 0.5 }));
    expect(result).toEqual([0, -2, 2.5, -4]);
  });

  test("TIES of one vector whole is the vector", async () => {
    expect(await read(mergeTensors([a], { by: "ties", density: 1 }))).toEqual(await read(a));
  });

  test("a sign of equal votes is +", async () => {
    expect(await read(mergeTensors([t(2), t(-2)], { by: "ties", density: 1 }))).toEqual([2]);
    expect(await read(mergeTensors([t(2, 1), t(-5, 1)], { by: "ties", density: 1, elect: "count" }))).toEqual(
      [2, 1],
    );
  });

  test("DARE keeps entries times 1 / density or drops them", async () => {
    const x = normal([1000], { key: key(1) });
    const got = await read(mergeTensors([x], { by: "dare", density: 0.25, key: key(2) }));
    const was = await read(x);
    const kept = got.flatMap((y, i) => (y === 0 ? [] : [y / was[i]!]));
    for (const ratio of kept) expect(ratio).toBeCloseTo(4, 5);
    expect(Math.abs(kept.length / 1000 - 0.25)).toBeLessThan(0.05);
  });
});

describe("a truncated adapter", () => {
  test("is the decomposition of its whole change, cut: found without the product", async () => {
    const [part] = goldenParts();
    const got = await changes(await truncateUpdates(part!, { rank: 2 }));
    for (const [path, update] of part!)
      close(got[path]!, await read(reconstruct(truncatedSvd(change(update), { rank: 2 }))), 1e-5);
  });

  test("keeps the least rank with the energy that was asked for, by layer", async () => {
    const [part] = goldenParts();
    for (const energy of [0.5, 0.8, 0.95, 1]) {
      const cut = await truncateUpdates(part!, { energy });
      for (const [path, update] of part!) {
        const squares = (await read(svd(change(update)).s)).map((s) => s * s);
        const total = squares.reduce((x, y) => x + y);
        const share = (k: number): number => squares.slice(0, k).reduce((x, y) => x + y, 0) / total;
        const rank = cut.get(path)!.A.shape[0]!;
        expect(share(rank)).toBeGreaterThanOrEqual(energy - 1e-6);
        expect(share(rank - 1)).toBeLessThan(energy);
      }
    }
  });

  test("of PiSSA is a plain LoRA of twice the rank for the base as it was", async () => {
    const model = net();
    const attached = await randomised(attach(model, pissa, { rank: 2, alpha: 3 }, { targets: ["up"] }), 4);
    const want = await read(model.forward(ids));
    const updates = loraUpdates(attached);
    expect(updates.get("up")!.A.shape).toEqual([4, 8]);
    attached.detach();
    await attachUpdates(model, updates);
    close(await read(model.forward(ids)), want, 1e-5);
  });

  test("of VeRA is a LoRA too", async () => {
    const model = net();
    const attached = await randomised(attach(model, vera, { rank: 3 }, { targets: ["up"] }), 4);
    const want = await read(model.forward(ids));
    const updates = loraUpdates(attached);
    attached.detach();
    await attachUpdates(model, updates);
    close(await read(model.forward(ids)), want, 1e-5);
  });
});

describe("a LoRA out of a fully fine-tuned checkpoint", () => {
  const tuned = (base: Net): Map<string, Tensor> =>
    new Map(
      [...base.state()].map(([path, p]) => [
        path,
        p.add(normal(p.shape, { key: key(8).foldName(path), std: 0.1 })),
      ]),
    );

  test("of full rank gives its results up to what it names as left out", async () => {
    const base = net();
    const state = tuned(base);
    const { updates, rest } = await checkpointUpdates(base, state, TARGETS);
    expect(rest).toEqual(["up.bias"]);
    await attachUpdates(base, await truncateUpdates(updates, { rank: 8 }));
    const other = net();
    other.loadState(new Map([...state, ["up.bias", base.up.bias!]]));
    close(await read(base.forward(ids)), await read(other.forward(ids)), 1e-5);
  });

  test("of rank k is wrong by the singular values that it leaves out", async () => {
    const base = net();
    const { updates } = await checkpointUpdates(base, tuned(base), { targets: ["up"] });
    const delta = updates.get("up")!.delta;
    const s = await read(svd(delta).s);
    for (const rank of [1, 3, 6]) {
      const cut = (await truncateUpdates(updates, { rank })).get("up")!;
      const error = await change(cut).sub(delta).square().sum().item();
      expect(error).toBeCloseTo(
        s.slice(rank).reduce((x, y) => x + y * y, 0),
        4,
      );
    }
  });

  test("names what does not fit", async () => {
    const base = net();
    const state = tuned(base);
    state.delete("up.weight");
    await expect(checkpointUpdates(base, state)).rejects.toThrow(/1 missing \(up.weight\)/);
  });

  test("and checkpoints are merged and negated parameter by parameter", async () => {
    const base = net().state();
    const state = tuned(net());
    const back = await mergeCheckpoints(await mergeCheckpoints(base, [state]), [base]);
    for (const [path, p] of base) close(await read(back.get(path)!), await read(p), 1e-5);
    const away = await mergeCheckpoints(base, [state], { weights: [-1] });
    const middle = away.get("up.weight")!.add(state.get("up.weight")!).div(2);
    close(await read(middle), await read(base.get("up.weight")!), 1e-5);
  });
});

describe("methods whose change depends on the weight", () => {
  test.each([2, 3])(
    "%i DoRA adapters on one layer merge to exactly what they compute unmerged",
    async (count) => {
      const model = net();
      const all: Attached[] = [];
      for (let i = 0; i < count; i++) {
        const attached = attach(
          model,
          dora,
          { rank: 2, alpha: 3 },
          { ...TARGETS, name: `d${i}`, key: key(i) },
        );
        all.push(await randomised(attached, i, 0.7));
      }
      const apart = await read(model.forward(ids));
      await all[0]!.merge();
      close(await read(model.forward(ids)), apart, 1e-5);
      all[0]!.unmerge();
      expect(await read(model.forward(ids))).toEqual(apart);
    },
  );

  test("are refused where two factors are needed, and are brought near to a LoRA by their change of the weight", async () => {
    const model = net();
    const attached = await randomised(attach(model, dora, { rank: 2 }, { targets: ["up"] }), 3);
    const want = await read(model.forward(ids));
    expect(() => loraUpdates(attached)).toThrow(
      /an adapter that adds two thin factors to the weight, whatever that is, got dora; take weightUpdates/,
    );
    const updates = await truncateUpdates(weightUpdates(attached), { rank: 8 });
    attached.detach();
    await attachUpdates(model, updates);
    close(await read(model.forward(ids)), want, 1e-5);
  });

  test("add up as changes of the frozen weight in a combination", async () => {
    const model = net();
    const parts = [
      await randomised(attach(model, dora, { rank: 2 }, { targets: ["up"], name: "d" }), 3),
      await randomised(attach(model, hra, { rank: 2 }, { targets: ["up"], name: "h" }), 5),
    ].map(weightUpdates);
    const got = await combineUpdates(parts, { weights: [0.5, 2], keep: { rank: 8 } });
    const [d, h] = parts.map((part) => (part.get("up") as { delta: Tensor }).delta);
    const want = d!.mul(0.5).add(h!.mul(2));
    await evaluate(want);
    close(await read(change(got.get("up")!)), await read(want), 1e-5);
  });
});

test("a name that ends another path still stands for its own layer only", async () => {
  const inner = (): Sequential => new Sequential(new Linear(4, 4, { key: key(1) }));
  const model = new Sequential(new Linear(4, 4, { key: key(2) }), inner()).eval() as Sequential;
  const updates = loraUpdates(
    attach(new Sequential(new Linear(4, 4)), lora, { rank: 1 }, { targets: ["0"] }),
  );
  expect((await attachUpdates(model, updates)).layers).toEqual(["0"]);
});
