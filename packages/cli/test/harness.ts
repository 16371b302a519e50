import { createHash } from "node:crypto";
import { copyFileSync, mkdirSync, readdirSync, readFileSync, statSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { Readable, Writable } from "node:stream";
import { fileURLToPath } from "node:url";
import { wasm } from "@lowrank/backend-wasm";
import { LlamaForCausalLM, parseLlamaConfig, savePretrained } from "@lowrank/models";
import { key, setDefaultBackend } from "@lowrank/tensor";
import { main } from "../src/index.js";

const TOKENIZER = fileURLToPath(new URL("../../../examples/quickstart/model/", import.meta.url));

export const TINY = {
  architectures: ["LlamaForCausalLM"],
  model_type: "llama",
  vocab_size: 4096,
  hidden_size: 16,
  intermediate_size: 32,
  num_hidden_layers: 2,
  num_attention_heads: 2,
  num_key_value_heads: 1,
  max_position_embeddings: 128,
  rms_norm_eps: 1e-5,
  rope_theta: 10000,
  tie_word_embeddings: true,
  bos_token_id: 0,
  eos_token_id: 0,
};

/** Writes a random model with a tokenizer. */
export async function makeModel(folder: string, config: object = TINY): Promise<void> {
  const backend = await wasm({ threads: 1 });
  setDefaultBackend(backend);
  const model = new LlamaForCausalLM(parseLlamaConfig({ ...config }), { key: key(1) });
  await savePretrained(model, folder, { replace: true });
  await backend.dispose();
  for (const name of ["tokenizer.json", "tokenizer_config.json"])
    copyFileSync(join(TOKENIZER, name), join(folder, name));
}

const WORDS = "whale ship sea captain harpoon deck sail storm night watch crew boat line oil".split(" ");
const sentence = (i: number): string =>
  Array.from({ length: 12 }, (_, j) => WORDS[(i * 5 + j * (i + 3)) % WORDS.length]).join(" ");

/** Data files in every form. */
export function makeData(folder: string): void {
  const lines = (records: object[]): string => records.map((r) => `${JSON.stringify(r)}\n`).join("");
  const twelve = Array.from({ length: 12 }, (_, i) => i);
  mkdirSync(folder, { recursive: true });
  writeFileSync(join(folder, "text.jsonl"), lines(twelve.map((i) => ({ text: sentence(i) }))));
  writeFileSync(
    join(folder, "prompts.jsonl"),
    lines(twelve.map((i) => ({ prompt: sentence(i), completion: sentence(i + 1) }))),
  );
  writeFileSync(
    join(folder, "chat.jsonl"),
    lines(
      twelve.map((i) => ({
        messages: [
          { role: "user", content: sentence(i) },
          { role: "assistant", content: sentence(i + 1) },
        ],
      })),
    ),
  );
  writeFileSync(join(folder, "book.txt"), twelve.map((i) => `${sentence(i)}.`).join("\n"));
}

export interface Ran {
  status: number;
  stdout: string;
  stderr: string;
  /** The lines of `--json`. */
  records: Record<string, unknown>[];
}

interface RunOptions {
  signal?: AbortSignal;
  stdin?: string;
  /** Whether standard error counts as a terminal. Default false. */
  interactive?: boolean;
  /** Sees each piece of standard output as it comes. */
  onOutput?: (text: string) => void;
}

const COMPUTING = [
  "finetune",
  "evaluate",
  "perplexity",
  "generate",
  "chat",
  "estimate",
  "embed",
  "merge",
  "convert",
];

/**
 * Runs a command line in this process. What is not told where to compute is computed on wasm, so that tests give the
 * same on a machine with a GPU.
 */
export async function run(
  given: string[],
  { signal, stdin = "", interactive = false, onOutput }: RunOptions = {},
): Promise<Ran> {
  const collect = (see?: (text: string) => void): { stream: Writable; text: () => string } => {
    let all = "";
    const stream = new Writable({
      decodeStrings: false,
      write(chunk: string | Buffer, _encoding, done) {
        all += chunk.toString();
        see?.(chunk.toString());
        done();
      },
    });
    return { stream, text: () => all };
  };
  const [out, err] = [collect(onOutput), collect()];
  const told = !COMPUTING.includes(given[0]!) || given.includes("--device") || given.includes("--help");
  const argv = told ? given : [given[0]!, "--device", "wasm", ...given.slice(1)];
  const status = await main(argv, {
    stdout: out.stream,
    stderr: err.stream,
    stdin: Readable.from([Buffer.from(stdin)]),
    interactive,
    ...(signal === undefined ? {} : { signal }),
  });
  const records = argv.includes("--json")
    ? out
        .text()
        .trim()
        .split("\n")
        .filter(Boolean)
        .map((line) => JSON.parse(line) as Record<string, unknown>)
    : [];
  return { status, stdout: out.text(), stderr: err.text(), records };
}

/** Every file under a folder with the hash of its bytes, to see that nothing has changed. */
export function tree(folder: string): Map<string, string> {
  const files = new Map<string, string>();
  for (const name of readdirSync(folder, { recursive: true, encoding: "utf8" }).sort()) {
    const path = join(folder, name);
    files.set(
      name,
      statSync(path).isDirectory() ? "folder" : createHash("sha256").update(readFileSync(path)).digest("hex"),
    );
  }
  return files;
}
