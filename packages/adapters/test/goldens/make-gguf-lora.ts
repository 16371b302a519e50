/**
 * What llama.cpp continues with an adapter that we wrote. Needs node-llama-cpp, installed anywhere:
 *
 *   LOWRANK_TEST_MODELS=FOLDER NODE_LLAMA_CPP=FOLDER/node_modules/node-llama-cpp npx tsx make-gguf-lora.ts [ADAPTER.gguf]
 *
 * llama.cpp rounds what it multiplies with codes to 8 bits, so it is given the same numbers in f32, where it rounds nothing.
 * Without an adapter that of ../seeded-adapter.ts is written and gguf-lora.json made anew; with one, what llama.cpp and we
 * continue is compared and shown.
 */
import { createHash } from "node:crypto";
import { mkdtemp, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join, resolve } from "node:path";
import { fileURLToPath, pathToFileURL } from "node:url";
import { wasm } from "@lowrank/backend-wasm";
import { type CausalLM, fromPretrained, generate, openGguf, quantizeGguf, writeGguf } from "@lowrank/models";
import { setDefaultBackend } from "@lowrank/tensor";
import { loadGgufLora, saveGgufLora } from "../../src/index.js";
import { NEW_TOKENS, PROMPTS, seededAdapter } from "../seeded-adapter.js";

const modelPath = join(process.env["LOWRANK_TEST_MODELS"]!, "SmolLM2-135M-Instruct.Q4_1.gguf");
const home = resolve(process.env["NODE_LLAMA_CPP"] ?? "node_modules/node-llama-cpp");
const llamaCpp = await import(pathToFileURL(join(home, "dist/index.js")).href);
const { version } = JSON.parse(await readFile(join(home, "package.json"), "utf8")) as { version: string };

setDefaultBackend(await wasm({ threads: 1 }));
const model = await fromPretrained(modelPath, { resident: true });
const scratch = await mkdtemp(join(tmpdir(), "gguf-lora-"));
const given = process.argv[2];
const path = given ?? join(scratch, "adapter.gguf");
if (given === undefined) await saveGgufLora(seededAdapter(model), path);
else await loadGgufLora(model, given);

/** The first so many tokens that llama.cpp takes as the most probable. */
async function continued(prompt: readonly number[], adapter: string | undefined): Promise<number[]> {
  const context = await theirs.createContext({ contextSize: 256, threads: 1, ...(adapter && { lora: adapter }) });
  try {
    const sequence = context.getSequence();
    const out: number[] = [];
    for await (const token of sequence.evaluate(prompt, { temperature: 0 })) {
      out.push(token as number);
      if (out.length >= NEW_TOKENS) break;
    }
    return out;
  } finally {
    await context.dispose();
  }
}

/** The same of ours; both end before a token that ends a turn. */
async function ours(lm: CausalLM, prompt: readonly number[]): Promise<number[]> {
  const out: number[] = [];
  for await (const id of generate(lm, prompt, { greedy: true, maxNewTokens: NEW_TOKENS, stopIds: [] }))
    out.push(id);
  const end = out.findIndex((id) => lm.config.eosTokenIds.includes(id));
  return end < 0 ? out : out.slice(0, end);
}

const llama = await llamaCpp.getLlama({ gpu: false, build: "never", logLevel: "error" });
const widened = join(scratch, "model.gguf");
const file = await openGguf(modelPath);
const tensors = [...file.tensors].map(([name, { shape, array }]) => {
  const data = async () => quantizeGguf("F32", await array());
  return [name, { type: "F32", shape, data }] as const;
});
await writeGguf(widened, new Map(tensors), { metadata: file.metadata });
await file.close();
const theirs = await llama.loadModel({ modelPath: widened });
const continuations = [];
for (const text of PROMPTS) {
  const prompt = theirs.tokenize(text) as number[];
  const [base, adapted] = [await continued(prompt, undefined), await continued(prompt, path)];
  const own = await ours(model, prompt);
  const same = own.length === adapted.length ? own.findIndex((id, i) => id !== adapted[i]) : own.length;
  console.log(`${text}\n  base:    ${theirs.detokenize(base)}\n  adapted: ${theirs.detokenize(adapted)}`);
  console.log(`  ours:    ${same < 0 ? `the same ${own.length} tokens` : `another token at ${same}: ${theirs.detokenize(own)}`}`);
  continuations.push({ text, prompt, base, adapted });
}
if (given === undefined) {
  const sha256 = createHash("sha256").update(await readFile(path)).digest("hex");
  const golden = { madeWith: `node-llama-cpp ${version}`, sha256, continuations };
  await writeFile(fileURLToPath(new URL("./gguf-lora.json", import.meta.url)), `${JSON.stringify(golden)}\n`);
}
await rm(scratch, { recursive: true });
process.exit(0);
