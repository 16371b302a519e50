import { Linear, Sequential } from "@lowrank/nn";
import { evaluate, gradients, key, matmul, normal, setDefaultBackend, tensor } from "@lowrank/tensor";
import { beforeAll, describe, expect, test } from "vitest";
import { testBackend } from "../test/backend.js";
import { close, randomised, read, targetOf } from "../test/layers.js";
import { adaLora, type AdaLoraConfig, type AdaLoraParams } from "./adalora.js";
import { attach } from "./attach.js";
import { lora } from "./lora.js";
import { loadPeft, peftFiles } from "./peft.js";
import { contractChecks } from "./testing.js";

beforeAll(async () => setDefaultBackend(await testBackend()));

const config: AdaLoraConfig = { rank: 4, targetRank: 2, steps: 20 };
for (const check of [
  ...contractChecks(adaLora, config, {
    // r (in + out + 1)
    count: ({ inFeatures, outFeatures }) => 4 * (inFeatures + outFeatures + 1),
  }),
  ...contractChecks(
    adaLora,
    { ...config, kept: { layer: [true, false, false, true] } },
    {
      count: ({ inFeatures, outFeatures }) => 2 * (inFeatures + outFeatures + 1),
    },
  ),
])
  test(check.name, check.run);

const W = normal([6, 9], { key: key(1) });
const target = targetOf("linear", 9, 6);
const params: AdaLoraParams = {
  A: normal([4, 9], { key: key(2) }),
  B: normal([6, 4], { key: key(3) }),
  E: normal([4, 1], { key: key(4) }),
};

test("it is the LoRA of B diag(E) and A, on a scale of alpha / (rank + 1e-5)", async () => {
  const { A, B, E } = params;
  const alpha = (8 * 4) / (4 + 1e-5);
  close(
    await read(adaLora.merge(W, params, { ...config, alpha: 8 }, target)),
    await read(lora.merge(W, { A, B: B.mul(E.T) }, { rank: 4, alpha }, target)),
    1e-6,
  );
});

test("masking a triplet is leaving it out, on the same scale", async () => {
  const masked = { ...params, E: params.E.mul(tensor([1, 0, 0, 1], { shape: [4, 1], dtype: "f32" })) };
  const left = {
    A: params.A.slice([[0, 4, 3], null]),
    B: params.B.slice([null, [0, 4, 3]]),
    E: params.E.slice([[0, 4, 3], null]),
  };
  const kept = { layer: [true, false, false, true] };
  close(
    await read(adaLora.merge(W, masked, config, target)),
    await read(adaLora.merge(W, left, { ...config, kept }, target)),
    1e-6,
  );
});

describe("the term for the loss", () => {
  const term = (given: AdaLoraParams, gamma?: number, layers = 1) =>
    adaLora.penalty!(given, { ...config, penalty: gamma }, target, layers);

  test("is the mean of the distances from orthonormal vectors over all layers, times γ", async () => {
    const model = new Sequential(new Linear(9, 6), new Linear(6, 5)).eval() as Sequential;
    const adapted = await randomised(
      attach(model, adaLora, { ...config, penalty: 0.3 }, { targets: ["0", "1"] }),
      5,
    );
    let sum = 0;
    for (const { entry } of adapted.places) {
      const { A, B } = entry.params as unknown as AdaLoraParams;
      for (const gram of [matmul(A, A.T), matmul(B.T, B)]) {
        const g = await read(gram);
        sum += Math.sqrt(g.reduce((s, x, i) => s + (x - (i % 5 === 0 ? 1 : 0)) ** 2, 0));
      }
    }
    close([await adapted.penalty()!.item()], [(0.3 * sum) / 4], 1e-5);
  });

  test("is zero for orthonormal vectors, with a slope of zero and not NaN", async () => {
    const A = tensor(
      new Float32Array(36).map((_, i) => (i % 10 === 0 ? 1 : 0)),
      { shape: [4, 9] },
    );
    const B = tensor(
      new Float32Array(24).map((_, i) => (i % 5 === 0 && i < 20 ? 1 : 0)),
      { shape: [6, 4] },
    );
    const loss = term({ ...params, A, B })!;
    const slopes = gradients(loss, [A, B]);
    await evaluate(loss, ...slopes);
    expect(await loss.item()).toBe(0);
    for (const slope of slopes) expect((await read(slope)).every((g) => g === 0)).toBe(true);
  });

  test("is left out for γ = 0", () => expect(term(params, 0)).toBeUndefined());
});

describe("a layer of which no triplet is left", () => {
  const kept = { "0": [false, false, false, false] };

  test("is the frozen layer, with nothing to train, and comes back from its file", async () => {
    const model = new Sequential(new Linear(9, 6, { key: key(6) })).eval() as Sequential;
    const x = normal([2, 9], { key: key(7) });
    const bare = await read(model.forward(x));
    const adapted = attach(model, adaLora, { ...config, kept }, { targets: ["0"] });
    expect(await read(model.forward(x))).toEqual(bare);
    expect(adapted.report().trainable).toBe(0);
    expect(adapted.penalty()).toBeNull();
    const files = await peftFiles(adapted);
    const json = JSON.parse(new TextDecoder().decode(files.get("adapter_config.json")));
    expect(json.rank_pattern).toEqual({ "0.lora_E": [false, false, false, false] });
    adapted.detach();
    const loaded = await loadPeft(model, files, { adapters: [adaLora as never] });
    expect(await read(model.forward(x))).toEqual(bare);
    expect(loaded.config).toMatchObject({ kept });
  });
});

describe("refused are", () => {
  const model = (): Sequential => new Sequential(new Linear(9, 6));
  const put = (more: Partial<AdaLoraConfig>) => () =>
    attach(model(), adaLora, { ...config, ...more }, { targets: ["0"] });

  test("schedules without updates between tinit and tfinal", () =>
    expect(put({ steps: 10, tinit: 5, tfinal: 5 })).toThrow(
      /updates between tinit and the last tfinal, got 10 steps with tinit 5 and tfinal 5/,
    ));
  test("masks of another rank", () =>
    expect(put({ kept: { "0": [true] } })).toThrow(/kept to have 4 marks for "0", its rank, got 1/));

  test("files whose masks are none", async () => {
    const net = model();
    const files = await peftFiles(attach(net, adaLora, config, { targets: ["0"] }));
    const json = JSON.parse(new TextDecoder().decode(files.get("adapter_config.json")));
    for (const rank_pattern of [
      { "0.lora_E": [true] },
      { "0": [true, true, true, true] },
      { "0.lora_E": 3 },
      [1],
    ]) {
      files.set("adapter_config.json", new TextEncoder().encode(JSON.stringify({ ...json, rank_pattern })));
      await expect(loadPeft(model(), files, { adapters: [adaLora as never] })).rejects.toThrow(
        /rank_pattern to be masks of 4 triplets/,
      );
    }
  });

  test("ranks by layer in a file, which has none for them", async () => {
    const adapted = attach(model(), adaLora, config, { targets: ["0"], rankPattern: { "0": 2 } });
    await expect(peftFiles(adapted)).rejects.toThrow(/one rank for all layers of adaLora/);
  });
});

test("its factors add what it adds", async () => {
  const { A, B, scale } = adaLora.factors!(params, config, target);
  close(
    await read(W.add(matmul(B, A).mul(scale))),
    await read(adaLora.merge(W, params, config, target)),
    1e-6,
  );
});
