import { Embedding, LayerNorm, Linear, Module, valueAndGrad } from "@lowrank/nn";
import { AdamW } from "@lowrank/optim";
import { ConfigError, key, normal, setDefaultBackend, tensor, type Tensor } from "@lowrank/tensor";
import { beforeAll, describe, expect, test } from "vitest";
import { testBackend } from "../test/backend.js";
import { activate, attach, withRows } from "./attach.js";
import { ggufLoraChunks } from "./gguf-lora.js";
import { lora } from "./lora.js";
import { loadPeft, peftFiles } from "./peft.js";
import { adapterPool } from "./pool.js";

beforeAll(async () => setDefaultBackend(await testBackend()));

class Net extends Module {
  embed = new Embedding(7, 6, { key: key(1) });
  up = new Linear(6, 5, { key: key(2) });
  norm = new LayerNorm(5);
  score = new Linear(5, 2, { key: key(3) });
  forward(ids: Tensor): Tensor {
    return this.score.forward(this.norm.forward(this.up.forward(this.embed.forward(ids))));
  }
}

const ids = tensor(Int32Array.of(1, 4, 6), { shape: [3] });
const options = { targets: "all-linear", modulesToSave: ["score", "norm"] } as const;
const config = { rank: 2 };

async function trainSteps(net: Net, steps = 2): Promise<void> {
  const optimizer = new AdamW(net.trainableParameters(), { lr: 0.1 });
  const wanted = normal([3, 2], { key: key(9) });
  const step = valueAndGrad(net, () => net.forward(ids).sub(wanted).square().mean());
  for (let i = 0; i < steps; i++) await optimizer.step(step().grads);
}

const outputs = async (net: Net): Promise<number[]> => [...(await net.forward(ids).data())];

describe("modules trained in full", () => {
  test("start as the model's, are trained with the adapter, and carry no adapter themselves", async () => {
    const net = new Net();
    const before = await outputs(net);
    const attached = attach(net, lora, config, options);
    expect(await outputs(net)).toEqual(before);
    expect(attached.layers).toEqual(["up"]);
    const trained = [
      "up.lora_A.default.weight",
      "up.lora_B.default.weight",
      "norm.weight",
      "norm.bias",
      "score.weight",
      "score.bias",
    ];
    expect([...net.trainableParameters()].map(([path]) => path).sort()).toEqual([...trained].sort());
    expect([...attached.parameters()].map(([path]) => path).sort()).toEqual([...trained].sort());
  });

  test("the model's own parameters keep their bits: disable, enable and detach go between both", async () => {
    const net = new Net();
    const own = net.score.weight;
    const [before, bits] = [await outputs(net), [...(await own.data())]];
    const attached = attach(net, lora, config, options);
    await trainSteps(net);
    const trained = await outputs(net);
    expect(trained).not.toEqual(before);
    attached.disable();
    expect(net.score.weight).toBe(own);
    expect(await outputs(net)).toEqual(before);
    attached.enable();
    expect(await outputs(net)).toEqual(trained);
    attached.detach();
    expect(net.score.weight).toBe(own);
    expect([...(await own.data())]).toEqual(bits);
    expect(own.trainable).toBe(true);
    expect(await outputs(net)).toEqual(before);
  });

  test("are saved and loaded with the adapter, to the bit", async () => {
    const net = new Net();
    const attached = attach(net, lora, config, options);
    await trainSteps(net);
    const files = await peftFiles(attached);
    const json = JSON.parse(new TextDecoder().decode(files.get("adapter_config.json")));
    expect(json.modules_to_save).toEqual(["score", "norm"]);
    const fresh = new Net();
    const loaded = await loadPeft(fresh, files);
    expect(await outputs(fresh)).toEqual(await outputs(net));
    expect([...fresh.trainableParameters()]).toEqual([]);
    expect(await peftFiles(loaded)).toEqual(files);
  });

  test("stay in a model that the adapter was merged into", async () => {
    const net = new Net();
    const attached = attach(net, lora, config, options);
    await trainSteps(net);
    const trained = await outputs(net);
    await attached.mergeAndUnload();
    for (const [i, y] of (await outputs(net)).entries()) expect(y).toBeCloseTo(trained[i]!, 5);
    // and are the model's own from then on
    attach(net, lora, config, { ...options, name: "next" });
  });

  test("of two adapters one at a time stands in for a module", async () => {
    const net = new Net();
    const one = attach(net, lora, config, { ...options, name: "one" });
    expect(() => attach(net, lora, config, { ...options, name: "two" })).toThrow(/score|norm/);
    await trainSteps(net);
    one.disable();
    attach(net, lora, config, { ...options, name: "two" });
    await trainSteps(net, 1);
    const second = await outputs(net);
    expect(() => one.enable()).toThrow(ConfigError);
    activate(net, ["one"]);
    const first = await outputs(net);
    expect(first).not.toEqual(second);
    activate(net, ["two"]);
    expect(await outputs(net)).toEqual(second);
  });

  test("are refused where they cannot be: rows of a batch, a pool, llama.cpp's files, names that match nothing", async () => {
    const net = new Net();
    expect(() => attach(net, lora, config, { ...options, modulesToSave: ["scare"] })).toThrow(/"score"/);
    expect(() => attach(net, lora, config, { targets: ["score"], modulesToSave: ["score"] })).toThrow(
      /outside/,
    );
    const attached = attach(net, lora, config, options);
    expect(() => withRows(net, ["default", null, null], () => net.forward(ids))).toThrow(/whole batch/);
    const files = await peftFiles(attached);
    expect(() => ggufLoraChunks(attached)).toThrow(/modulesToSave/);
    const pool = adapterPool(new Net(), { slots: 1, rank: 2 });
    await expect(pool.load("one", files)).rejects.toThrow(/trained in full/);
  });
});
