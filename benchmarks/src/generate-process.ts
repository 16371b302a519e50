// One turn of ours in `bench generate`: model, threads, library.
import { native } from "@lowrank/backend-native";
import { wasm } from "@lowrank/backend-wasm";
import { fromPretrained, generate, loadTokenizer } from "@lowrank/models";
import { setDefaultBackend } from "@lowrank/tensor";
import { NEW_TOKENS, PROMPT, REPEATS, type Turn } from "./generate.js";
import { median } from "./statistics.js";

const [path, threads, lib] = process.argv.slice(2) as [string, string, string];
const backend =
  lib === "lowrank-native"
    ? await native({ threads: Number(threads) })
    : await wasm({ threads: Number(threads) });
setDefaultBackend(backend);
const activations = lib === "lowrank-wasm-int8" ? "int8" : "f32";
const model = await fromPretrained(path, { resident: true, activations });
const tokenizer = await loadTokenizer(path);
const prompt = tokenizer.encode(PROMPT.repeat(REPEATS)).slice(0, 256);

async function run(newTokens: number): Promise<{ first: number; times: number[]; ids: number[] }> {
  const [times, ids]: number[][] = [[], []];
  let last = performance.now();
  for await (const id of generate(model, prompt, { greedy: true, maxNewTokens: newTokens, stopIds: [] })) {
    const now = performance.now();
    times!.push(now - last);
    last = now;
    ids!.push(id);
  }
  const [first, ...rest] = times!;
  return { first: first!, times: rest, ids: ids! };
}

await run(4);
const { first, times, ids } = await run(NEW_TOKENS);
const library = "library" in backend ? (backend.library as { name: string; version: string } | null) : null;
const result: Turn = {
  prefill_per_s: (1000 * prompt.length) / first,
  decode_per_s: 1000 / median(times),
  text: tokenizer.decode(ids),
  details: library ? `${lib} with ${library.name} ${library.version}` : lib,
};
console.log(JSON.stringify(result));
await backend.dispose();
