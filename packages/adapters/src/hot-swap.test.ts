import { Embedding, Linear, Module } from "@lowrank/nn";
import {
  ConfigError,
  evaluate,
  key,
  normal,
  planStats,
  setDefaultBackend,
  tensor,
  type Tensor,
} from "@lowrank/tensor";
import { beforeAll, expect, test } from "vitest";
import { testBackend } from "../test/backend.js";
import type { Adapter } from "./adapter.js";
import { attach, type AttachOptions } from "./attach.js";
import { dora } from "./dora.js";
import { hotSwap } from "./hot-swap.js";
import { lora, type LoraConfig } from "./lora.js";
import { loadPeft, peftFiles } from "./peft.js";
import { olora } from "./residual-lora.js";
import { vera } from "./vera.js";

const backend = testBackend();
beforeAll(async () => setDefaultBackend(await backend));

class Net extends Module {
  embed = new Embedding(7, 6, { key: key(1) });
  up = new Linear(6, 5, { key: key(2) });
  score = new Linear(5, 3, { key: key(3) });
  forward(ids: Tensor): Tensor {
    return this.score.forward(this.up.forward(this.embed.forward(ids)));
  }
}

const ids = tensor(Int32Array.of(1, 4, 6), { shape: [3] });
const outputs = async (net: Net): Promise<number[]> => [...(await net.forward(ids).data())];
const places: AttachOptions = { targets: ["up", "score"] };

/** An adapter with random numbers, as files. */
async function saved(seed: number, config: object = { rank: 2 }, adapter: unknown = lora, options = places) {
  const net = new Net();
  const attached = attach(net, adapter as Adapter, config, options);
  // all but what OLoRA takes from the base
  const own = [...attached.parameters()].filter(([, p]) => p.trainable || adapter === vera);
  const random = own.map(([path, p]) => p.assign(normal(p.shape, { key: key(seed).foldName(path) })));
  await evaluate(...random);
  return { files: await peftFiles(attached), want: await outputs(net) };
}

test("the adapter computes what the other does, its parameters are the same ones, and no plan is made for it", async () => {
  const [one, two] = [await saved(1), await saved(2)];
  const net = new Net();
  const attached = await loadPeft(net, one.files, { name: "a" });
  expect(await outputs(net)).toEqual(one.want);
  await hotSwap(attached, two.files);
  expect(await outputs(net)).toEqual(two.want);
  const parameters = [...attached.parameters()];
  const before = planStats(await backend).misses;
  await hotSwap(attached, one.files);
  expect(await outputs(net)).toEqual(one.want);
  expect(planStats(await backend).misses).toBe(before);
  expect([...attached.parameters()]).toEqual(parameters);
  expect([...attached.parameters()].every(([, p], i) => p === parameters[i]![1])).toBe(true);
  expect(attached.name).toBe("a");
});

test("an alpha of its own comes along, and the files say so afterwards", async () => {
  const [one, two] = [await saved(1), await saved(2, { rank: 2, alpha: 7 })];
  const net = new Net();
  const attached = await loadPeft(net, one.files);
  await hotSwap(attached, two.files);
  expect(await outputs(net)).toEqual(two.want);
  expect((attached.config as LoraConfig).alpha).toBe(7);
  expect(await peftFiles(attached)).toEqual(two.files);
});

test("modules trained in full are swapped with it", async () => {
  const whole: AttachOptions = { targets: ["up"], modulesToSave: ["score"] };
  const [one, two] = [await saved(1, { rank: 2 }, lora, whole), await saved(2, { rank: 2 }, lora, whole)];
  const net = new Net();
  const attached = await loadPeft(net, one.files);
  await hotSwap(attached, two.files);
  expect(await outputs(net)).toEqual(two.want);
});

test.each([
  ["another rank", { rank: 3 }, lora, places, /2 of another shape|4 of another shape/],
  ["other layers", { rank: 2 }, lora, { targets: ["up"] }, /missing.*score/],
  ["another method", { rank: 2 }, dora, places, /use_dora|peft_type/],
  ["a head of its own", { rank: 2 }, lora, { ...places, modulesToSave: ["embed"] }, /unexpected.*embed/],
] as const)("%s is refused, and nothing has changed", async (_, config, adapter, options, message) => {
  const [one, other] = [await saved(1), await saved(2, config, adapter, options)];
  const net = new Net();
  const attached = await loadPeft(net, one.files);
  await expect(hotSwap(attached, other.files)).rejects.toThrow(message);
  expect(await outputs(net)).toEqual(one.want);
});

test("a method that makes numbers of its own from the base keeps them, and takes only files with the same settings", async () => {
  const load = olora as unknown as Adapter;
  const [one, two, other] = [
    await saved(1, { rank: 2 }, olora),
    await saved(2, { rank: 2 }, olora),
    await saved(3, { rank: 2, alpha: 3 }, olora),
  ];
  const net = new Net();
  const attached = await loadPeft(net, one.files, { adapters: [load] });
  await hotSwap(attached, two.files);
  expect(await outputs(net)).toEqual(two.want);
  await expect(hotSwap(attached, other.files)).rejects.toThrow(/settings .*alpha/);
});

test("projections that layers share are swapped once", async () => {
  const [one, two] = [await saved(1, { rank: 2 }, vera), await saved(2, { rank: 2 }, vera)];
  const net = new Net();
  const attached = await loadPeft(net, one.files, { adapters: [vera as unknown as Adapter] });
  await hotSwap(attached, two.files);
  expect(await outputs(net)).toEqual(two.want);
});

test("a merged adapter is refused", async () => {
  const { files } = await saved(1);
  const attached = await loadPeft(new Net(), files);
  await attached.merge();
  await expect(hotSwap(attached, files)).rejects.toThrow(ConfigError);
  await expect(hotSwap(attached, files)).rejects.toThrow(/unmerge/);
});
