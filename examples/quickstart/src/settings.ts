import { fileURLToPath } from "node:url";
import { parseArgs } from "node:util";

/** Folder of the quick start. */
export const root = fileURLToPath(new URL("../", import.meta.url));

/** Settings that are numbers: least value, default, words for the help. */
const NUMBERS = {
  steps: [1, 300, "optimizer steps"],
  rank: [1, 3, "rank of the LoRA matrices in every layer"],
  "head-rank": [0, 14, "their rank in the output head; 0 leaves it alone"],
  lr: [1e-9, 0.01, "highest learning rate"],
  batch: [1, 4, "rows in a batch"],
  length: [2, 256, "tokens in a row"],
  seconds: [1, 110, "longest time to train"],
  tokens: [1, 60, "tokens of each continuation"],
  threads: [1, undefined, "threads of wasm (default: all cores)"],
  seed: [0, 1, "order of the chapters and random start"],
} as const satisfies Record<string, readonly [least: number, fallback: number | undefined, about: string]>;

/** Where to compute. */
const DEVICES = ["wasm", "native", "webgpu"] as const;

type NumberName = keyof typeof NUMBERS;

export interface Settings extends Record<Exclude<NumberName, "threads">, number> {
  threads: number | undefined;
  device: (typeof DEVICES)[number];
  prompt: string;
  /** Folder for the adapter and the report. */
  out: string;
  json: boolean;
}

/** What `--quick` sets: a few seconds of work, for tests. */
const QUICK: Partial<Record<NumberName, number>> = { steps: 6, batch: 2, length: 64, tokens: 12 };

const PROMPT = "The old captain stood upon the deck and looked";

const help = (): string =>
  [
    "npm start -- [settings]",
    "",
    ...Object.entries(NUMBERS).map(
      ([name, [, fallback, about]]) =>
        `  --${name.padEnd(14)}${about}${fallback === undefined ? "" : ` (${fallback})`}`,
    ),
    "  --device NAME   wasm, the embedded backend, native, with the BLAS of the machine, or webgpu, a GPU through Dawn (wasm)",
    "  --prompt TEXT   what the model is to continue",
    "  --out FOLDER    for the adapter and report.html (examples/quickstart/output)",
    "  --json          one JSON object with all facts, nothing else",
    "  --quick         a few seconds of training on a few chapters, to see that all works",
  ].join("\n");

/** Reads the command line. Help and mistakes end the process. */
export function readSettings(): Settings & { quick: boolean } {
  const leave = (message: string, code: number): never => {
    (code === 0 ? process.stdout : process.stderr).write(`${message}\n`);
    process.exit(code);
  };
  const strings = Object.fromEntries(
    [...Object.keys(NUMBERS), "device", "prompt", "out"].map((name) => [name, { type: "string" as const }]),
  );
  const flags = Object.fromEntries(
    ["json", "quick", "help"].map((name) => [name, { type: "boolean" as const }]),
  );
  let given: Record<string, unknown>;
  try {
    given = parseArgs({ options: { ...strings, ...flags } }).values;
  } catch (error) {
    return leave(`quick start: ${(error as Error).message}; --help lists the settings`, 2);
  }
  if (given["help"]) return leave(help(), 0);
  const quick = given["quick"] === true;
  const read = (name: NumberName): number | undefined => {
    const [least, fallback] = NUMBERS[name];
    const word = given[name] as string | undefined;
    if (word === undefined) return (quick ? QUICK[name] : undefined) ?? fallback;
    const value = Number(word);
    const whole = name === "lr" || name === "seconds" || Number.isInteger(value);
    if (word.trim() === "" || !Number.isFinite(value) || value < least || !whole) {
      const kind = name === "lr" || name === "seconds" ? "a number" : "an integer";
      return leave(
        `--${name}: expected ${kind} of at least ${least}, got ${JSON.stringify(word)}; --help lists the settings`,
        2,
      );
    }
    return value;
  };
  const word = given["device"] ?? "wasm";
  const device = DEVICES.find((name) => name === word);
  if (device === undefined) {
    return leave(
      `--device: expected ${DEVICES.slice(0, -1).join(", ")} or ${DEVICES.at(-1)}, got ${JSON.stringify(word)}; --help lists the settings`,
      2,
    );
  }
  const numbers = Object.fromEntries(Object.keys(NUMBERS).map((name) => [name, read(name as NumberName)]));
  return {
    ...(numbers as Record<Exclude<NumberName, "threads">, number> & { threads: number | undefined }),
    device,
    prompt: (given["prompt"] as string | undefined) ?? PROMPT,
    out: (given["out"] as string | undefined) ?? `${root}output`,
    json: given["json"] === true,
    quick,
  };
}
