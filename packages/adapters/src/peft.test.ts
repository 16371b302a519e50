import { mkdtemp, readdir, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { Embedding, Linear, Module } from "@lowrank/nn";
import { ConfigError, evaluate, key, normal, setDefaultBackend, tensor, type Tensor } from "@lowrank/tensor";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { testBackend } from "../test/backend.js";
import { attach, attachedTo } from "./attach.js";
import { lora } from "./lora.js";
import { loadPeft, peftFiles, savePeft } from "./peft.js";

let folder = "";
beforeAll(async () => {
  setDefaultBackend(await testBackend());
  folder = await mkdtemp(join(tmpdir(), "peft-"));
});
afterAll(() => rm(folder, { recursive: true }));

class Net extends Module {
  embed = new Embedding(7, 6, { key: key(1) });
  up = new Linear(6, 5, { key: key(2) });
  forward(ids: Tensor): Tensor {
    return this.up.forward(this.embed.forward(ids));
  }
}

const ids = tensor(Int32Array.of(1, 4, 6), { shape: [3] });

/** A net with an adapter that does something. */
async function adapted(): Promise<{ net: Net; files: Map<string, Uint8Array> }> {
  const net = new Net().eval() as Net;
  const one = attach(
    net,
    lora,
    { rank: 2, alpha: 3, dropout: 0.25 },
    { targets: ["embed", "up"], name: "mine" },
  );
  await evaluate(
    ...[...one.parameters()].map(([path, p]) => p.assign(normal(p.shape, { key: key(3).foldName(path) }))),
  );
  return { net, files: await peftFiles(one, { baseModel: "some/base" }) };
}

/** Files with fields of the configuration changed. */
function changed(files: Map<string, Uint8Array>, change: object): Map<string, Uint8Array> {
  const config = JSON.parse(new TextDecoder().decode(files.get("adapter_config.json")));
  const text = JSON.stringify({ ...config, ...change });
  return new Map([...files, ["adapter_config.json", new TextEncoder().encode(text)]]);
}

describe("PEFT folders", () => {
  test("a folder holds the two files, sorted keys, and tensors by PEFT's names", async () => {
    const { net } = await adapted();
    const path = join(folder, "one");
    await savePeft(attachedTo(net)[0]!, path, { baseModel: "some/base" });
    expect((await readdir(path)).sort()).toEqual([
      "adapter_config.json",
      "adapter_model.safetensors",
      "manifest.json",
    ]);
    const config = JSON.parse(await readFile(join(path, "adapter_config.json"), "utf8"));
    expect(config).toMatchObject({
      peft_type: "LORA",
      r: 2,
      lora_alpha: 3,
      lora_dropout: 0.25,
      target_modules: ["embed", "up"],
      base_model_name_or_path: "some/base",
    });
    const header = new TextDecoder().decode(
      (await readFile(join(path, "adapter_model.safetensors"))).subarray(8),
    );
    for (const name of [
      "embed.lora_embedding_A",
      "embed.lora_embedding_B",
      "up.lora_A.weight",
      "up.lora_B.weight",
    ]) {
      expect(header).toContain(`"base_model.model.${name}"`);
    }
    // An existing folder is not replaced unasked.
    await expect(savePeft(attachedTo(net)[0]!, path)).rejects.toThrow(/existing/);
  });

  test("a loaded adapter computes the same and rests until it is asked to train", async () => {
    const { net, files } = await adapted();
    const fresh = new Net().eval() as Net;
    const loaded = await loadPeft(fresh, files, { name: "b" });
    expect(loaded.config).toEqual({ rank: 2, alpha: 3, dropout: 0.25, useRslora: false, init: "kaiming" });
    const [a, b] = [await net.forward(ids).data(), await fresh.forward(ids).data()];
    for (const [i, y] of a.entries()) expect(b[i]).toBeCloseTo(y, 5);
    expect([...fresh.trainableParameters()]).toEqual([]);
    loaded.detach();
    await loadPeft(fresh, files, { trainable: true });
    expect([...fresh.trainableParameters()].map(([path]) => path)).toContain("up.lora_A.default.weight");
  });

  test.each([
    [{ peft_type: "IA3" }, /peft_type to be one of LORA, got "IA3"/],
    [{ r: "2" }, /rank to be an integer/],
    [{ r: 0 }, /rank to be an integer/],
    [{ use_dora: true }, /no use_dora, got true/],
    [{ bias: "all" }, /bias "none", got "all"/],
    [{ init_lora_weights: "pissa_niter_4" }, /also changes the base/],
    [{ modules_to_save: "up" }, /modules_to_save to be a list/],
    [{ modules_to_save: ["up"] }, /missing.*up\.weight/s],
    [{ trainable_token_indices: [1] }, /trainable_token_indices to be empty/],
    [{ target_modules: 3 }, /target_modules to be a string or a list of strings, got 3/],
    [{ target_modules: null }, /target_modules/],
    [{ target_modules: "(?=u)up" }, /RE2 syntax/],
    [{ rank_pattern: { up: "x" } }, /rank_pattern to be an object of numbers/],
    [{ layers_to_transform: ["a"] }, /layers_to_transform to be an integer or a list/],
    [{ target_modules: ["down"] }, /match layers of the model, got "down"/],
  ])("a configuration with %o is refused and leaves the model bare", async (change, message) => {
    const { files } = await adapted();
    const net = new Net();
    const error: unknown = await loadPeft(net, changed(files, change)).catch((e: unknown) => e);
    expect(String(error)).toMatch(message);
    expect(error).toBeInstanceOf(ConfigError);
    expect(attachedTo(net)).toEqual([]);
    expect([...net.parameters()].every(([, p]) => p.trainable)).toBe(true);
  });

  test("an expression of a file that would keep a backtracking matcher busy for minutes is answered at once", async () => {
    const { files } = await adapted();
    const start = performance.now();
    const slow = changed(files, { target_modules: "(([a-z_]+[a-z_.0-9]*)+)+#" });
    await expect(loadPeft(new Net(), slow)).rejects.toThrow(ConfigError);
    expect(performance.now() - start).toBeLessThan(10_000);
  });

  test("target names of a file may go beyond the model's, as with PEFT", async () => {
    const { files } = await adapted();
    const loaded = await loadPeft(
      new Net(),
      changed(files, { target_modules: ["up", "embed", "elsewhere"] }),
    );
    expect(loaded.layers).toEqual(["embed", "up"]);
  });

  test("pickle files and cut files are refused", async () => {
    const { files } = await adapted();
    const [config, weights] = [files.get("adapter_config.json")!, files.get("adapter_model.safetensors")!];
    await expect(
      loadPeft(new Net(), { "adapter_config.json": config, "adapter_model.bin": new Uint8Array(3) }),
    ).rejects.toThrow(/pickle.*safe_serialization/);
    await expect(loadPeft(new Net(), { "adapter_config.json": config })).rejects.toThrow(/no such file/);
    await expect(
      loadPeft(new Net(), {
        "adapter_config.json": config,
        "adapter_model.safetensors": weights.subarray(0, -4),
      }),
    ).rejects.toMatchObject({ code: "LOWRANK_FORMAT" });
    await writeFile(join(folder, "adapter_config.json"), "{");
    await expect(loadPeft(new Net(), folder)).rejects.toMatchObject({ code: "LOWRANK_FORMAT" });
  });
});
