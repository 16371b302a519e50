import { markdownTable } from "./markdown.js";

/** One run of the main job, a language model fine-tuned and scored on held-out text, on one device. */
export interface MainJob {
  readonly bench: "webgpu-main-job" | "native-main-job";
  readonly device: "webgpu" | "native" | "wasm";
  /** The GPU, or the BLAS. */
  readonly adapter?: string;
  /** What was run, with DEVICE and N for what differs. */
  readonly command: string;
  readonly steps: number;
  readonly perplexity_before: number;
  readonly perplexity_after: number;
  readonly seconds_per_step: number;
  readonly note?: string;
}

const WORDS = { wasm: "Wasm", native: "Native", webgpu: "WebGPU" } as const;

/** The runs of the same command and steps, one device beside the other. */
export function mainJobMarkdown(lines: readonly MainJob[]): string {
  const adapters = new Set(lines.flatMap(({ adapter }) => adapter ?? []));
  const commands = [...new Set(lines.map(({ command }) => command))];
  const tables = commands.map((command) => {
    const runs = lines.filter((l) => l.command === command);
    const rows = runs.map((run) => {
      const other = runs.find((l) => l.steps === run.steps && l.device === "wasm");
      const apart =
        other && other !== run
          ? `${(100 * Math.abs(run.perplexity_after / other.perplexity_after - 1)).toPrecision(2)} %`
          : "";
      const numbers = [run.perplexity_before.toFixed(3), run.perplexity_after.toFixed(3), apart];
      return [`${WORDS[run.device]}, ${run.steps} steps`, ...numbers, run.seconds_per_step.toFixed(2)];
    });
    const head = ["", "perplexity before", "after", "apart", "s a step"];
    const notes = new Set(runs.flatMap(({ note }) => note ?? []));
    return [`\`${command}\``, markdownTable(head, rows), ...[...notes].map((note) => `- ${note}`)].join(
      "\n\n",
    );
  });
  const on = lines.some(({ device }) => device === "webgpu") ? "on a GPU" : "with the BLAS of the machine";
  const title = `The same training ${on}, ${[...adapters].join(", ")}, and on WebAssembly.`;
  return [title, ...tables].join("\n\n");
}
