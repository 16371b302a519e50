import { spawnSync } from "node:child_process";
import { cpSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { wasm } from "@lowrank/backend-wasm";
import { LlamaForCausalLM, parseLlamaConfig, savePretrained } from "@lowrank/models";
import { type DType, key, setDefaultBackend } from "@lowrank/tensor";
import { machine } from "./result.js";
import { significant } from "./statistics.js";

/** What was predicted for a run of `lowrank`, and what it took as a process of its own. */
export interface EstimateSample {
  bench: "estimates";
  row: string;
  model: string;
  method: string;
  batch: number;
  /** Tokens in a row of training, or those of the prompt and new. */
  tokens: number;
  /** Whether the constant in `estimate` was found on this run; only the others test it. */
  fitted: boolean;
  predicted_bytes: number;
  measured_bytes: number;
  /** predicted / measured. */
  ratio: number;
  /** Seconds of a step of training, or of a token. */
  predicted_s: number;
  measured_s: number;
  threads: number;
  machine: string;
}

const repository = fileURLToPath(new URL("../../", import.meta.url));
const program = join(repository, "packages/cli/dist/bin.js");
const TOKENIZER = join(repository, "examples/quickstart/model");
/** Tells the peak of a process at its end, on standard error. */
const PEAK = `data:text/javascript,${encodeURIComponent(
  'import { writeSync } from "node:fs"; process.on("exit", () => { writeSync(2, "\\npeak " + 1024 * process.resourceUsage().maxRSS + "\\n"); });',
)}`;

interface Method {
  readonly method: "generate" | "LoRA" | "LoRA, layers again";
  readonly batch: number;
  /** Words of the prompt, or tokens in a row. */
  readonly length: number;
  readonly maxTokens?: number;
}

const FITTED: readonly Method[] = [
  { method: "generate", batch: 1, length: 88, maxTokens: 32 },
  { method: "LoRA", batch: 1, length: 128 },
  { method: "LoRA", batch: 4, length: 128 },
  { method: "LoRA, layers again", batch: 4, length: 128 },
];
const OTHERS: readonly Method[] = [
  { method: "generate", batch: 1, length: 253, maxTokens: 64 },
  { method: "LoRA", batch: 2, length: 64 },
  { method: "LoRA", batch: 3, length: 192 },
  { method: "LoRA, layers again", batch: 2, length: 256 },
];

interface Config {
  readonly hidden: number;
  readonly layers: number;
  readonly inner: number;
}

/** Writes a random Llama with the tokenizer of the quick start. */
async function writeModel(folder: string, { hidden, layers, inner }: Config, dtype: DType): Promise<void> {
  const config = parseLlamaConfig({
    architectures: ["LlamaForCausalLM"],
    model_type: "llama",
    vocab_size: 4096,
    hidden_size: hidden,
    intermediate_size: inner,
    num_hidden_layers: layers,
    num_attention_heads: hidden / 64,
    max_position_embeddings: 2048,
    tie_word_embeddings: true,
  });
  await savePretrained(new LlamaForCausalLM(config, { key: key(1) }), folder, { dtype });
  for (const name of ["tokenizer.json", "tokenizer_config.json"])
    cpSync(join(TOKENIZER, name), join(folder, name));
}

interface Ran {
  last: Record<string, unknown>;
  peakBytes: number;
}

function lowrank(argv: string[]): Ran {
  const { status, stdout, stderr } = spawnSync(
    process.execPath,
    ["--import", PEAK, program, ...argv, "--json"],
    {
      encoding: "utf8",
      maxBuffer: 1 << 28,
    },
  );
  if (status !== 0)
    throw new Error(`bench estimates: lowrank ${argv[0]} ended with ${status}: ${stderr.slice(-500)}`);
  const last = JSON.parse(stdout.trim().split("\n").at(-1)!) as Record<string, unknown>;
  return { last, peakBytes: Number(/peak (\d+)/.exec(stderr)?.[1]) };
}

/**
 * `lowrank estimate` beside the same run done, over five models and eight ways to use them: the peak resident memory of the
 * process, and the time of a step or token. Half of the runs are those on which a constant in `estimate` was found.
 */
export async function measureEstimates(options: {
  threads: number;
  models: string;
  onLine: (line: EstimateSample) => void;
  note: (text: string) => void;
}): Promise<EstimateSample[]> {
  const { threads, models, onLine, note } = options;
  const scratch = mkdtempSync(join(tmpdir(), "bench-estimates-"));
  const lines: EstimateSample[] = [];
  try {
    const backend = await wasm({ threads: 1 });
    setDefaultBackend(backend);
    await writeModel(join(scratch, "small"), { hidden: 384, layers: 12, inner: 1024 }, "f32");
    await writeModel(join(scratch, "middle"), { hidden: 768, layers: 12, inner: 2048 }, "f16");
    await writeModel(join(scratch, "narrow"), { hidden: 256, layers: 20, inner: 640 }, "f32");
    await writeModel(join(scratch, "wide"), { hidden: 1024, layers: 6, inner: 2816 }, "bf16");
    await backend.dispose();
    const words = "the whale and the sea and the ship of the captain ";
    const data = join(scratch, "data.jsonl");
    const record = (i: number): string => JSON.stringify({ text: `${i} ${words.repeat(24)}` });
    writeFileSync(data, Array.from({ length: 40 }, (_, i) => `${record(i)}\n`).join(""));
    const real = ["SmolLM2-135M, Q4_1", join(models, "SmolLM2-135M-Instruct.Q4_1.gguf")] as const;
    const sources = [
      ["random, 23 M, f32", join(scratch, "small"), FITTED],
      ["random, 88 M, f16", join(scratch, "middle"), FITTED],
      [...real, FITTED],
      ["random, narrow, f32", join(scratch, "narrow"), OTHERS],
      ["random, wide, bf16", join(scratch, "wide"), OTHERS],
      [...real, OTHERS],
    ] as const;
    for (const [model, path, methods] of sources) {
      for (const { method, batch, length, maxTokens } of methods) {
        note(`${model}: ${method}, batch ${batch} ...`);
        const machineFlags = ["--device", "wasm", "--threads", String(threads)];
        const again = method === "LoRA, layers again" ? ["--checkpoint-layers"] : [];
        const sizes = ["--batch", String(batch), "--length", String(length), ...again];
        let [ran, found]: Ran[] = [];
        if (method === "generate") {
          ran = lowrank([
            "generate",
            path,
            words.repeat(length / 11),
            "--max-tokens",
            String(maxTokens),
            "--greedy",
            ...machineFlags,
          ]);
          const tokens = [String(ran.last["promptTokens"]), "--max-tokens", String(ran.last["tokens"])];
          found = lowrank(["estimate", path, "--prompt", ...tokens, ...machineFlags]);
        } else {
          const out = ["--out", join(scratch, "out"), "--overwrite", "--steps", "3", "--eval-share", "0"];
          ran = lowrank(["finetune", path, data, ...out, ...sizes, ...machineFlags]);
          found = lowrank(["estimate", path, "--task", "finetune", ...sizes, ...machineFlags]);
        }
        const { last } = ran!;
        const written = (last["promptTokens"] as number) + (last["tokens"] as number);
        const [predicted, measured] = [found!.last["peakBytes"] as number, ran!.peakBytes];
        const perToken = 1 / (last["tokensPerSecond"] as number);
        const line: EstimateSample = {
          bench: "estimates",
          row: `${model}, ${method}, batch ${batch}, length ${length}`,
          model,
          method,
          batch,
          tokens: method === "generate" ? written : length,
          fitted: methods === FITTED,
          predicted_bytes: Math.round(predicted),
          measured_bytes: measured,
          ratio: significant(predicted / measured),
          predicted_s: significant(found!.last["nextSeconds"] as number),
          measured_s: significant(method === "generate" ? perToken : (last["secondsPerStep"] as number)),
          threads,
          machine: machine(),
        };
        lines.push(line);
        onLine(line);
      }
    }
    return lines;
  } finally {
    rmSync(scratch, { recursive: true, force: true });
  }
}
