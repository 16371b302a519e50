import { readFileSync } from "node:fs";
import { QuantizedWeight } from "@lowrank/nn";
import { type Backend, defaultBackend, setDefaultBackend } from "@lowrank/tensor";
import { reference } from "@lowrank/tensor/reference";
import { fromPretrained, generate, ggufChunks, openGguf, toGguf } from "@lowrank/models";
import { beforeAll, describe, expect, test } from "vitest";
import { expectNear, golden, readGoldens } from "./golden-files.js";

const BACKENDS: [string, () => Backend | Promise<Backend>][] = [
  ["reference", reference],
  ["wasm", defaultBackend],
];
const FILE = golden("gguf/gpt2.gguf");

describe.each(BACKENDS)("a GGUF file of GPT-2 on %s", (_, backend) => {
  beforeAll(async () => setDefaultBackend(await backend()));

  test("agrees with Transformers on the stored numbers, to 1e-5 in logits and in greedy tokens", async () => {
    const want = await readGoldens(golden("gguf/gpt2.safetensors"));
    const model = await fromPretrained(FILE);
    await expectNear(model.forward(want.tensor("input_ids")), want.numbers("logits"), 1e-5, "logits");
    const prompt = want.numbers("input_ids").slice(0, 12);
    const made: number[] = [];
    for await (const id of generate(model, prompt, { greedy: true, maxNewTokens: 12, stopIds: [] }))
      made.push(id);
    expect(made).toEqual(want.numbers("greedy"));
  });
});

test("tables stay in codes and halves in halves; matrices of blocks in codes become f32", async () => {
  const model = await fromPretrained(FILE);
  const state = model.state();
  expect(state.get("transformer.wte.weight")).toBeInstanceOf(QuantizedWeight);
  const dtypes = ["0.attn.c_attn", "0.attn.c_proj", "0.mlp.c_fc", "1.mlp.c_proj"].map(
    (path) => state.get(`transformer.h.${path}.weight`)!.dtype,
  );
  expect(dtypes).toEqual(["f32", "f16", "bf16", "f32"]);
  expect(state.get("transformer.h.0.mlp.c_fc.weight")!.shape).toEqual([32, 64]);
  const outline = await fromPretrained(FILE, { outline: true });
  for (const [path, p] of outline.state())
    expect([path, p.shape, p.dtype]).toEqual([path, state.get(path)!.shape, state.get(path)!.dtype]);
  expect(model.config).toMatchObject({ layers: 2, heads: 4, maxPositions: 32, layerNormEps: 1e-5 });
  expect([model.config.bosTokenIds, model.config.eosTokenIds]).toEqual([[0], [1]]);
});

test("a head of its own is read, and a tensor that lacks or is not known is named", async () => {
  const file = await openGguf(readFileSync(FILE));
  const tensors = new Map(
    [...file.tensors].map(([name, { type, shape, bytes }]) => [name, { type, shape, data: bytes }] as const),
  );
  const change = async (edit: (all: typeof tensors) => void): Promise<Uint8Array> => {
    const map = new Map(tensors);
    edit(map);
    const parts: Uint8Array[] = [];
    for await (const part of ggufChunks(map, { metadata: new Map(file.metadata) })) parts.push(part);
    return new Uint8Array(Buffer.concat(parts));
  };
  const untied = await fromPretrained(
    await change((all) => all.set("output.weight", all.get("token_embd.weight")!)),
  );
  const want = await readGoldens(golden("gguf/gpt2.safetensors"));
  await expectNear(untied.forward(want.tensor("input_ids")), want.numbers("logits"), 1e-5, "logits");
  await expect(fromPretrained(await change((all) => all.delete("blk.1.ffn_up.bias")))).rejects.toThrow(
    /transformer\.h\.1\.mlp\.c_fc\.bias/,
  );
  await expect(
    fromPretrained(await change((all) => all.set("blk.0.attn_q.weight", all.get("blk.0.attn_qkv.weight")!))),
  ).rejects.toThrow(/blk\.0\.attn_q\.weight/);
  await file.close();
});

test("a model of GPT-2 is not written as a file of GGUF, and told so", async () => {
  const model = await fromPretrained(golden("gpt2"));
  await expect(toGguf(model)).rejects.toThrow(
    /expected one of LlamaForCausalLM, Qwen2ForCausalLM, Qwen3ForCausalLM, got GPT2LMHeadModel/,
  );
});
