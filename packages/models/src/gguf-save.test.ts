import { mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { type CausalLM, fromPretrained, loadTokenizer, openGguf, saveGguf, toGguf } from "@lowrank/models";
import type { QuantizedWeight } from "@lowrank/nn";
import { ConfigError, setDefaultBackend } from "@lowrank/tensor";
import { afterAll, beforeAll, expect, test } from "vitest";
import { testBackend } from "../test/backend.js";
import { golden } from "../test/golden-files.js";
import { joinHalves } from "./gguf-model.js";
import { pairRows } from "./gguf-save.js";

beforeAll(async () => setDefaultBackend(await testBackend()));
const folder = mkdtempSync(join(tmpdir(), "lowrank-gguf-save-"));
afterAll(() => rmSync(folder, { recursive: true }));

const QUICKSTART = join(golden("."), "../../../../examples/quickstart/model");
const IDS = [[3, 14, 15, 9, 26, 5, 35, 8]];

async function bytesOf(chunks: AsyncIterable<Uint8Array>): Promise<Uint8Array> {
  const parts: Uint8Array[] = [];
  for await (const part of chunks) parts.push(part);
  return new Uint8Array(Buffer.concat(parts));
}

const logits = async (model: CausalLM): Promise<number[]> =>
  Array.from(await model.forward(model.ids(IDS)).data());

test("pairing rows and joining halves undo each other", () => {
  const values = Float32Array.from({ length: 48 }, (_, i) => i);
  const paired = new Uint8Array(pairRows(values, [16, 3], 2).slice().buffer);
  expect(new Float32Array(joinHalves({ shape: [16, 3] }, paired, 2).slice().buffer)).toEqual(values);
});

/** A golden model whose queries see all keys: GGUF has no place for windows here. */
async function withoutWindows(name: string): Promise<CausalLM> {
  const config = JSON.parse(readFileSync(golden(`${name}/config.json`), "utf8")) as Record<string, unknown>;
  const open = { ...config, use_sliding_window: false, layer_types: null };
  return fromPretrained({
    "config.json": new TextEncoder().encode(JSON.stringify(open)),
    "model.safetensors": golden(`${name}/model.safetensors`),
  });
}

for (const name of ["llama-tied", "llama-untied", "llama-scaled", "qwen2", "qwen3"]) {
  test(`${name} in F32 computes what it did, its configuration is the same`, async () => {
    const model = await withoutWindows(name);
    const again = await fromPretrained(await bytesOf(await toGguf(model, { type: "F32" })));
    const json = model.configJson("float32");
    const own = again.configJson("float32");
    for (const key of ["bos_token_id", "eos_token_id", "pad_token_id", "initializer_range"]) {
      delete json[key]; // those of the tokenizer, or of no use to a trained model
      delete own[key];
    }
    expect(own).toEqual(json);
    const [a, b] = [await logits(again), await logits(model)];
    const worst = Math.max(...a.map((x, i) => Math.abs(x - b[i]!)));
    expect(worst).toBeLessThan(1e-6 * Math.max(...b.map(Math.abs)));
  });
}

test("codes are kept as they are written, the table in 8 bits beside 4, vectors in f32", async () => {
  const model = await fromPretrained(golden("llama-untied"));
  const kept = await model.state().get("model.layers.1.mlp.up_proj.weight")!.data();
  const largest = Math.max(...kept.map(Math.abs));
  for (const [type, bits, share] of [
    ["F16", 16, 2 ** -11],
    ["Q8_0", 8, 1 / 250],
    ["Q4_0", 4, 1 / 7.9],
  ] as const) {
    const bytes = await bytesOf(await toGguf(model, { type }));
    const file = await openGguf(bytes);
    expect(file.tensors.get("blk.0.attn_q.weight")!.type).toBe(type);
    expect(file.tensors.get("output.weight")!.type).toBe(type === "Q4_0" ? "Q8_0" : type);
    expect(file.tensors.get("output_norm.weight")!.type).toBe("F32");
    const again = await fromPretrained(bytes);
    const weight = again.state().get("model.layers.1.mlp.up_proj.weight")!;
    if (bits === 16) expect(weight.dtype).toBe("f16");
    else expect((weight as QuantizedWeight).bits).toBe(bits);
    const error = (await weight.data()).map((w, i) => Math.abs(w - kept[i]!));
    expect(Math.max(...error), type).toBeLessThan(share * largest);
    // Widened weights are those that the codes stand for.
    const got = await logits(again);
    const wide = await logits(await fromPretrained(bytes, { dtype: "f32" }));
    const size = Math.max(...wide.map(Math.abs));
    expect(Math.max(...got.map((x, i) => Math.abs(x - wide[i]!))) / size).toBeLessThan(1e-5);
  }
});

test("a tokenizer of a folder goes into the file and comes out as it was", async () => {
  const model = await fromPretrained(QUICKSTART);
  const path = join(folder, "model.gguf");
  await saveGguf(model, path, { type: "Q8_0", tokenizer: QUICKSTART });
  const [own, want] = [await loadTokenizer(path), await loadTokenizer(QUICKSTART)];
  for (const text of ["Call me Ishmael.", "  12,345 whales\n\nand <|eos|> it's", "naïve 日本 🙂"]) {
    expect(own.encode(text)).toEqual(want.encode(text));
  }
  expect([own.bosId, own.eosId, own.padId]).toEqual([want.bosId, want.eosId, want.padId]);
  const again = join(folder, "again.gguf");
  await saveGguf(model, again, { tokenizer: path });
  expect((await loadTokenizer(again)).encode("Call me")).toEqual(want.encode("Call me"));
});

test("what GGUF has no place for is refused", async () => {
  const model = await fromPretrained(golden("mistral"));
  const windowed = model.configJson("float32")["sliding_window"] !== null;
  expect(windowed).toBe(true);
  await expect(toGguf(model)).rejects.toThrow(ConfigError);
});
