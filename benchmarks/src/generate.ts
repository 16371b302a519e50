import { spawnSync } from "node:child_process";
import { fileURLToPath } from "node:url";
import { errorIn } from "./contender-process.js";
import { machine } from "./result.js";
import { median, significant } from "./statistics.js";
import { installTextPeers } from "./text-peers.js";

/** The libraries that are to make a text from the same GGUF file; what stands behind says how each is run. */
export const WRITERS = [
  "lowrank-wasm",
  "lowrank-wasm-int8",
  "lowrank-native",
  "wllama",
  "node-llama-cpp",
  "transformers.js",
] as const;
export type Writer = (typeof WRITERS)[number];

/** What one library did in all its turns. */
export interface GenerateSample {
  bench: "generate";
  row: string;
  lib: Writer;
  threads: number;
  /** Medians over the turns, each of a process of its own. */
  prefill_per_s: number | null;
  decode_per_s: number | null;
  turns: { prefill_per_s: number; decode_per_s: number }[];
  prompt_tokens: number;
  new_tokens: number;
  /** The beginning of what it wrote, greedily. */
  text: string;
  details: string;
  /** Why it could not. */
  cannot?: string;
  machine: string;
}

/** What a process of a library prints at its end. */
export interface Turn {
  prefill_per_s: number;
  decode_per_s: number;
  text: string;
  details: string;
}

export const PROMPT =
  "The whale is a large animal that lives in the sea, and the captain of the ship knows it. ";
/** Times that the prompt's sentence stands in it: some 256 tokens. */
export const REPEATS = 12;
export const NEW_TOKENS = 64;

const PROGRAMS: Readonly<Record<Exclude<Writer, "transformers.js">, string>> = {
  "lowrank-wasm": "generate-process.ts",
  "lowrank-wasm-int8": "generate-process.ts",
  "lowrank-native": "generate-process.ts",
  wllama: "generate-wllama.ts",
  "node-llama-cpp": "generate-llama-cpp.ts",
};

function turn(lib: Exclude<Writer, "transformers.js">, model: string, threads: number): Turn {
  const script = fileURLToPath(new URL(`./${PROGRAMS[lib]}`, import.meta.url));
  const { status, stdout, stderr } = spawnSync(
    process.execPath,
    ["--import", "tsx", script, model, String(threads), lib],
    { encoding: "utf8", cwd: fileURLToPath(new URL("../", import.meta.url)), timeout: 600_000 },
  );
  const line = stdout.trim().split("\n").at(-1) ?? "";
  if (status !== 0 || !line.startsWith("{")) throw new Error(errorIn(stderr) ?? `ended with ${status}`);
  return JSON.parse(line) as Turn;
}

/** Libraries take turns in alternating order; each turn loads the model, warms up, and is timed once. */
export function measureGenerate(options: {
  libraries: readonly Writer[];
  model: string;
  threads: number;
  turns: number;
  onLine: (line: GenerateSample) => void;
  note: (text: string) => void;
}): GenerateSample[] {
  const { libraries, model, threads, turns, onLine, note } = options;
  if (libraries.some((lib) => !lib.startsWith("lowrank"))) installTextPeers();
  const found = new Map<Writer, Turn[]>(libraries.map((lib) => [lib, []]));
  const faults = new Map<Writer, string>([
    ["transformers.js", "reads ONNX files alone, neither GGUF nor safetensors"],
  ]);
  for (let i = 0; i < turns; i++) {
    for (const lib of i % 2 === 0 ? libraries : [...libraries].reverse()) {
      if (lib === "transformers.js" || faults.has(lib)) continue;
      note(`turn ${i + 1}: ${lib} ...`);
      try {
        found.get(lib)!.push(turn(lib, model, threads));
      } catch (error) {
        faults.set(lib, (error as Error).message.slice(0, 300));
      }
    }
  }
  return libraries.map((lib) => {
    const done = found.get(lib)!;
    const middle = (of: (t: Turn) => number): number | null =>
      done.length === 0 ? null : significant(median(done.map(of)));
    const line: GenerateSample = {
      bench: "generate",
      row: "SmolLM2-135M-Instruct Q4_1",
      lib,
      threads,
      prefill_per_s: middle((t) => t.prefill_per_s),
      decode_per_s: middle((t) => t.decode_per_s),
      turns: done.map((t) => ({
        prefill_per_s: significant(t.prefill_per_s),
        decode_per_s: significant(t.decode_per_s),
      })),
      prompt_tokens: 256,
      new_tokens: NEW_TOKENS,
      text: done[0]?.text.slice(0, 80) ?? "",
      details: done[0]?.details ?? "",
      ...(done.length === 0 && faults.has(lib) ? { cannot: faults.get(lib)! } : {}),
      machine: machine(),
    };
    onLine(line);
    return line;
  });
}
