import { mkdtemp, readFile, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { key, memory, setDefaultBackend } from "@lowrank/tensor";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { testBackend } from "../test/backend.js";
import { golden } from "../test/golden-files.js";
import { isFormatError } from "./format-error.js";
import { LlamaForCausalLM } from "./llama.js";
import { parseLlamaConfig } from "./llama-config.js";
import { fromPretrained, savePretrained } from "./pretrained.js";
import { encodeSafetensors } from "./safetensors-write.js";
import { storedTensor } from "./stored-tensor.js";

let folder = "";
beforeAll(async () => {
  setDefaultBackend(await testBackend());
  folder = await mkdtemp(join(tmpdir(), "pretrained-"));
});
afterAll(() => rm(folder, { recursive: true }));

const json = {
  architectures: ["LlamaForCausalLM"],
  vocab_size: 20,
  hidden_size: 8,
  intermediate_size: 12,
  num_hidden_layers: 1,
  num_attention_heads: 2,
  tie_word_embeddings: true,
};

describe("fromPretrained and savePretrained", () => {
  test("a saved model gives the same logits, and its weights file repeats byte by byte", async () => {
    const model = await fromPretrained(golden("llama-untied"));
    expect(model.training).toBe(false);
    const path = join(folder, "again");
    await savePretrained(model, path, { files: new Map([["notes.txt", "hello"]]) });
    expect(await readFile(join(path, "model.safetensors"))).toEqual(
      await readFile(join(golden("llama-untied"), "model.safetensors")),
    );
    expect(await readFile(join(path, "notes.txt"), "utf8")).toBe("hello");
    const again = await fromPretrained(path);
    const ids = model.ids([[3, 5, 7, 11]]);
    expect(await again.forward(ids).data()).toEqual(await model.forward(ids).data());
  });

  test("half precision stays as stored, unless another is asked for", async () => {
    const model = new LlamaForCausalLM(parseLlamaConfig(json), { key: key(1) });
    const path = join(folder, "half");
    await savePretrained(model, path, { dtype: "f16" });
    const stored = await fromPretrained(path);
    const wide = await fromPretrained(path, { dtype: "f32" });
    expect(new Set([...stored.parameters()].map(([, p]) => p.dtype))).toEqual(new Set(["f16"]));
    expect(new Set([...wide.parameters()].map(([, p]) => p.dtype))).toEqual(new Set(["f32"]));
    const ids = model.ids([[3, 5, 7, 11]]);
    const [a, b] = [await stored.forward(ids).data(), await wide.forward(ids).data()];
    for (const [i, y] of b.entries()) expect(a[i]).toBeCloseTo(y, 4);
    expect(JSON.parse(await readFile(join(path, "config.json"), "utf8")).torch_dtype).toBe("float16");
    expect(stored.state().has("lm_head.weight")).toBe(false);
  });

  test.each(["stored", "bf16"] as const)(
    "resident parameters (%s) are on the backend at once, the same bits",
    async (dtype) => {
      const model = await fromPretrained(golden("llama-tied"), { dtype });
      const before = memory().ownedBytes;
      const resident = await fromPretrained(golden("llama-tied"), { dtype, resident: true });
      const bytes = [...resident.parameters()].reduce(
        (sum, [, p]) => sum + p.size * (dtype === "bf16" ? 2 : 4),
        0,
      );
      expect(memory().ownedBytes - before).toBeGreaterThanOrEqual(bytes);
      for (const [path, p] of resident.state()) {
        expect(await p.rawData()).toEqual(await model.state().get(path)!.rawData());
      }
    },
  );

  test("weights that are not the configuration's are listed", async () => {
    const weights = await encodeSafetensors({
      "model.embed_tokens.weight": { dtype: "F32", shape: [20, 4], data: new Float32Array(80) },
      "model.extra": { dtype: "F32", shape: [1], data: new Float32Array(1) },
    });
    const files = {
      "config.json": new TextEncoder().encode(JSON.stringify(json)),
      "model.safetensors": weights,
    };
    const error: unknown = await fromPretrained(files).catch((e: unknown) => e);
    expect(isFormatError(error)).toBe(true);
    expect(String(error)).toMatch(
      /10 missing \(model\.layers\.0.* and 2 more\); 1 unexpected \(model\.extra\); 1 of another shape \(model\.embed_tokens\.weight \[20, 4\] instead of \[20, 8\]\)/,
    );
  });

  test("end tokens of generation_config.json come before those of config.json", async () => {
    const bytes = (value: object): Uint8Array => new TextEncoder().encode(JSON.stringify(value));
    const model = new LlamaForCausalLM(parseLlamaConfig(json), { key: key(3) });
    const files = {
      "config.json": bytes({ ...json, eos_token_id: 2 }),
      "model.safetensors": await encodeSafetensors(
        new Map([...model.state()].map(([name, p]) => [name, storedTensor(p)])),
      ),
    };
    expect((await fromPretrained(files)).config.eosTokenIds).toEqual([2]);
    const chat = { ...files, "generation_config.json": bytes({ eos_token_id: [7, 2] }) };
    expect((await fromPretrained(chat)).config.eosTokenIds).toEqual([7, 2]);
    const silent = { ...files, "generation_config.json": bytes({ temperature: 0.6 }) };
    expect((await fromPretrained(silent)).config.eosTokenIds).toEqual([2]);
  });

  test("a missing config and an unknown architecture are told apart", async () => {
    await expect(fromPretrained({})).rejects.toThrow(/expected config.json, got no such file/);
    const config = new TextEncoder().encode('{"architectures": ["BertModel"]}');
    await expect(fromPretrained({ "config.json": config })).rejects.toThrow(
      /LlamaForCausalLM, .*got "BertModel"/,
    );
  });
});
