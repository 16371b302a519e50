import { readFile } from "node:fs/promises";
import { type CausalLM, generate, type Tokenizer } from "@lowrank/models";
import { type Example, type PackedBatch, pack, parseJsonl, toExample } from "@lowrank/train";

/** The chapters of a file as examples, or the first few of them. */
export async function chapters(
  path: string,
  tokenizer: Tokenizer,
  most = Number.POSITIVE_INFINITY,
): Promise<Example[]> {
  return parseJsonl(await readFile(path, "utf8"), path)
    .slice(0, most)
    .map((record) => toExample(record, tokenizer));
}

/**
 * Held-out chapters in batches to be scored. A chapter is cut into windows and every token but a window's first is
 * predicted once.
 */
export const heldOut = (examples: readonly Example[], length: number): PackedBatch[] =>
  pack(examples, { length, batch: 8 });

/** What the model writes behind a prompt; the same seed each time. */
export async function continuation(
  model: CausalLM,
  tokenizer: Tokenizer,
  prompt: string,
  tokens: number,
): Promise<string> {
  const written: number[] = [];
  for await (const id of generate(model, tokenizer.encode(prompt), {
    maxNewTokens: tokens,
    temperature: 0.7,
    topK: 40,
    repetitionPenalty: 1.1,
    seed: 7,
  })) {
    written.push(id);
  }
  return tokenizer.decode(written).trim();
}
