import { svd } from "@lowrank/linalg";
import { Linear, Module } from "@lowrank/nn";
import {
  concat,
  evaluate,
  eye,
  key,
  matmul,
  normal,
  setDefaultBackend,
  type Tensor,
  tensor,
} from "@lowrank/tensor";
import { beforeAll, describe, expect, test } from "vitest";
import { readGoldens } from "../../models/test/golden-files.js";
import { testBackend } from "../test/backend.js";
import { close, read } from "../test/layers.js";
import { golden, Net } from "../test/methods.js";
import type { Attached } from "./attach.js";
import { attachEva } from "./eva.js";
import { IncrementalPca } from "./incremental-pca.js";
import type { LoraConfig } from "./lora.js";
import { loadPeft, peftFiles } from "./peft.js";

beforeAll(async () => setDefaultBackend(await testBackend()));

const factor = (adapted: Attached, path: string, field: "A" | "B"): Tensor =>
  adapted.places.find(({ entry }) => entry.target.path === path)!.entry.params[field]!;
const settings = (adapted: Attached, path: string): LoraConfig =>
  adapted.places.find(({ entry }) => entry.target.path === path)!.entry.config as LoraConfig;

describe("against PEFT", () => {
  test.each([false, true])("ranks and vectors are the same but for signs; whitened: %s", async (whiten) => {
    const base = await readGoldens(golden("methods/base.safetensors"));
    const want = await readGoldens(golden("starts/eva.safetensors"));
    const net = new Net();
    for (const [path, p] of net.parameters()) p.replace(base.tensor(path));
    const batches = want.tensor("batches").astype("i32");
    function* around(): Generator<Tensor> {
      for (let i = 0; i < 1000; i++) yield batches.slice([i % 4, null]);
    }
    const adapted = await attachEva(
      net,
      { batches: around(), forward: (ids) => net.forward(ids) },
      { rank: 4, alpha: 4, rho: 2, tau: 0.999, whiten },
      { targets: ["up", "down"], rankPattern: { down: 2 } },
    );
    for (const path of ["up", "down"]) {
      const name = whiten ? `whitened.${path}` : path;
      const A = factor(adapted, path, "A");
      const [rank, width] = A.shape as [number, number];
      expect([rank, width]).toEqual(want.tensor(name).shape);
      const { alpha } = settings(adapted, path);
      expect(alpha! / rank).toBeCloseTo(want.numbers(`${name}.scale`)[0]!, 6);
      const [ours, theirs] = [await read(A), want.numbers(name)];
      for (let i = 0; i < rank; i++) {
        const [a, b] = [ours, theirs].map((v) => v.slice(i * width, (i + 1) * width)) as [number[], number[]];
        const sign = Math.sign(a.reduce((s, x, j) => s + x * b[j]!, 0));
        close(
          a,
          b.map((x) => sign * x),
          1e-4,
        );
      }
    }
  });
});

describe("components that come in blocks", () => {
  test("are those of all rows less their mean, while the rank suffices", async () => {
    const blocks = [3, 1, 5, 8].map((n, i) => normal([n, 6], { key: key(i) }).add(i));
    const all = concat(blocks, 0);
    const { s, vt } = svd(all.sub(all.mean(0)));
    const pca = new IncrementalPca(6, 6);
    for (const block of blocks) await pca.push(block);
    const values = await read(s);
    close(await read(pca.singularValues), values, 1e-5);
    const total = values.reduce((sum, v) => sum + v * v, 0);
    close(
      [...pca.ratios],
      values.map((v) => (v * v) / total),
      1e-5,
    );
    close(await read(matmul(pca.components, vt.T).abs()), await read(eye(6)), 1e-3);
  });

  test("are all like before when a block comes again", async () => {
    const pca = new IncrementalPca(6, 3);
    const block = normal([20, 6], { key: key(1) });
    await pca.push(block);
    expect(pca.similarity).toEqual([0, 0, 0]);
    await pca.push(block);
    for (const cosine of pca.similarity) expect(cosine).toBeGreaterThan(0.9999);
  });
});

/** Inputs of `flat` have two directions, those of the others eight; `q` and `k` share theirs. */
class Layers extends Module {
  flat = new Linear(8, 6, { key: key(1) });
  q = new Linear(8, 6, { key: key(2) });
  k = new Linear(8, 6, { key: key(3) });
  forward([x, z]: readonly [Tensor, Tensor]): Tensor {
    return this.flat.forward(x).add(this.q.forward(z)).add(this.k.forward(z));
  }
}

describe("ranks", () => {
  const data = (seed: number): readonly [Tensor, Tensor] => {
    const few = matmul(normal([32, 2], { key: key(seed) }), normal([2, 8], { key: key(99) }));
    return [few, normal([32, 8], { key: key(seed).fold(1) })];
  };
  const start = (rho: number, more: object = {}): Promise<Attached<Layers>> => {
    const model = new Layers();
    const calibration = {
      batches: [1, 2, 3].map(data),
      forward: (x: readonly [Tensor, Tensor]) => model.forward(x),
    };
    return attachEva(
      model,
      calibration,
      { rank: 4, rho, alpha: 8, ...more },
      { targets: ["flat", "q", "k"] },
    );
  };
  const ranksOf = (adapted: Attached): number[] =>
    adapted.places.map(({ entry }) => entry.params["A"]!.shape[0]!);

  test("go to where components explain most, rank per layer in the mean, and at most rank · rho to a layer", async () => {
    // The two components of flat explain all of its inputs; each of the eight of q and k about an eighth.
    const adapted = await start(1.5);
    const ranks = ranksOf(adapted);
    expect(ranks.reduce((a, b) => a + b)).toBeLessThanOrEqual(12);
    expect(ranks[0]).toBeGreaterThanOrEqual(2);
    expect(Math.max(...ranks)).toBeLessThanOrEqual(6);
    for (const { entry } of adapted.places) {
      const { alpha, rank } = entry.config as LoraConfig;
      expect(alpha! / rank).toBeCloseTo(2, 6);
    }
    const fixed = await start(1.5, { adjustAlpha: false });
    for (const { entry } of fixed.places) expect((entry.config as LoraConfig).alpha).toBeCloseTo(8, 6);
  });

  test("stay for rho 1, and layers that share their inputs share their vectors", async () => {
    const adapted = await start(1);
    expect(ranksOf(adapted)).toEqual([4, 4, 4]);
    expect(await read(factor(adapted, "q", "A"))).toEqual(await read(factor(adapted, "k", "A")));
    const A = factor(adapted, "q", "A");
    close(await read(matmul(A, A.T)), await read(eye(4)), 1e-5);
  });

  test("of zero leave a layer without an adapter", async () => {
    const model = new Layers();
    const two = concat([normal([32, 2], { key: key(5) }), normal([32, 6], { key: key(6), std: 1e-3 })], 1);
    const forward = () => model.forward([two, data(1)[1]]);
    const adapted = await attachEva(
      model,
      { batches: [0], forward },
      { rank: 1, rho: 2 },
      { targets: ["flat", "q"] },
    );
    expect(adapted.layers).toEqual(["flat"]);
    expect(ranksOf(adapted)).toEqual([2]);
  });

  test("and vectors come back from the file, and the model is as it was", async () => {
    const adapted = await start(1.5);
    const { model } = adapted;
    const x = data(7);
    const before = await read(model.forward(x));
    const A = await read(factor(adapted, "q", "A"));
    const files = await peftFiles(adapted);
    adapted.detach();
    expect(await read(model.forward(x))).toEqual(before);
    const loaded = await loadPeft(model, files);
    expect(await read(factor(loaded, "q", "A"))).toEqual(A);
    expect(ranksOf(loaded)).toEqual(ranksOf(adapted));
  });
});

describe("refused are", () => {
  const model = new Layers();
  const nothing = { batches: [], forward: () => undefined };
  const options = { targets: ["q"] };
  test("no batches", () =>
    expect(attachEva(model, nothing, { rank: 2 }, options)).rejects.toThrow(/batches that reach the layers/));
  test("rho below 1", () =>
    expect(attachEva(model, nothing, { rank: 2, rho: 0.5 }, options)).rejects.toThrow(
      /rho to be a finite number of at least 1/,
    ));
  test("inputs that are no numbers", async () => {
    const x = tensor([Number.NaN, ...new Array<number>(63).fill(1)], { shape: [8, 8], dtype: "f32" });
    await evaluate(x);
    const broken = { batches: [x], forward: (z: Tensor) => model.q.forward(z) };
    await expect(attachEva(model, broken, { rank: 2 }, options)).rejects.toThrow(/NaN/);
    expect(model.q._overlay).toBeNull();
  });
});
