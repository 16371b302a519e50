import { type Attached, loadPeft } from "@lowrank/adapters";
import {
  type CausalLM,
  fromPretrained,
  ggufTokenizerFiles,
  openFolder,
  readSmallFile,
  resolveModel,
} from "@lowrank/models";
import { ConfigError } from "@lowrank/tensor";
import { choice, operand, path, text } from "./options.js";

/** The model of a command, by its place on the command line. */
export const modelOperand = /* @__PURE__ */ operand(
  path(
    "Folder of the model (config.json, model.safetensors, tokenizer.json), a .gguf file, or owner/name[@revision] of one that was pulled.",
    "PATH",
  ),
);

/** Options of every command that loads a model. */
export const loading = {
  adapter: text(
    "Folder of an adapter in PEFT's form to put onto the model.",
    { value: "FOLDER", expected: "the path of a folder" },
    { otherwise: "none" },
  ),
};

export const precision = choice(
  "Precision in which the weights are kept: stored leaves them as they are in the file.",
  ["stored", "f32", "f16", "bf16"],
  "stored",
);

export type Precision = "stored" | "f32" | "f16" | "bf16";

/** The model that a command's operand names, with an adapter on it if one is named, and where its tokenizer is. */
export async function loadModel<A extends string | undefined>(
  argument: string,
  { adapter, dtype, signal }: { adapter?: A; dtype: Precision; signal: AbortSignal },
): Promise<{
  model: CausalLM;
  attached: A extends string ? Attached<CausalLM> : Attached<CausalLM> | null;
  input: string;
}> {
  const { path: input } = await resolveModel(argument);
  const model = await fromPretrained(input, { dtype, resident: true, signal });
  const attached = adapter === undefined ? null : await loadPeft(model, adapter);
  return { model, attached: attached as Attached<CausalLM>, input };
}

/** Files that go with the weights and are copied as they are. */
const COMPANIONS = [
  "tokenizer.json",
  "tokenizer_config.json",
  "special_tokens_map.json",
  "added_tokens.json",
  "vocab.json",
  "merges.txt",
  "tokenizer.model",
  "chat_template.jinja",
  "generation_config.json",
];
const MAX_COMPANION_BYTES = 100_000_000;

/** The tokenizer and generation files of a model folder, or those made of a GGUF file, by name. */
export async function companionFiles(path: string): Promise<Map<string, Uint8Array | string>> {
  if (/\.gguf$/i.test(path)) return ggufTokenizerFiles(path);
  const folder = await openFolder(path);
  const files = new Map<string, Uint8Array>();
  for (const name of COMPANIONS) {
    const content = await readSmallFile(folder, name, MAX_COMPANION_BYTES);
    if (content !== undefined) files.set(name, content);
  }
  return files;
}

/** Rows are no longer than the model has positions. */
export function rowLength(model: CausalLM, wanted: number | undefined): number {
  const { maxPositions } = model.config;
  if (wanted === undefined) return Math.min(512, maxPositions);
  if (wanted <= maxPositions) return wanted;
  throw new ConfigError({
    where: "--length",
    expected: `at most ${maxPositions}, the positions of the model`,
    got: String(wanted),
  });
}
