import { constantSchedule, cosineSchedule, linearSchedule, type Schedule } from "@lowrank/optim";
import { common, computing } from "../command.js";
import { UsageError } from "../fault.js";
import { precision } from "../model-folder.js";
import { choice, integer, operand, path, real, text, texts, toggle, type Values } from "../options.js";

/** Options of `lowrank finetune`. */
export const finetuneOptions = {
  model: operand(
    path("Folder of the model to adapt: config.json, model.safetensors, tokenizer.json.", "FOLDER"),
  ),
  data: operand(
    path("Texts to learn: .jsonl with text, prompt and completion, or messages; or .txt.", "FILE"),
  ),
  out: path("Folder for everything the run makes.", "FOLDER"),
  overwrite: toggle("Replace an earlier run in that folder, once this one has ended well."),
  resume: toggle(
    "Go on from the newest checkpoint in that folder; the result is the same as without a stop.",
  ),
  "eval-data": text(
    "Texts that are not learnt but scored.",
    { value: "FILE" },
    { otherwise: "a share of the data" },
  ),
  "eval-share": real(
    "Share of the data that is kept back for scoring.",
    { min: 0, max: 0.5 },
    { fallback: 0.05 },
  ),
  rank: integer("Rank of the update of each layer.", { min: 1 }, { fallback: 8 }),
  alpha: real("The update is scaled by alpha / rank.", { min: 0 }, { otherwise: "twice the rank" }),
  dropout: real(
    "Probability with which an input of the update is left out.",
    { min: 0, max: 0.99 },
    { fallback: 0 },
  ),
  rslora: toggle("Scale by alpha / sqrt(rank), for high ranks."),
  targets: texts(
    "Layers to adapt: all-linear, names separated by commas, or a regular expression for whole paths.",
    { value: "NAMES", expected: "all-linear, names, or a regular expression" },
    { fallback: "all-linear" },
  ),
  steps: integer("Optimizer steps.", { min: 1 }, { otherwise: "as many as --epochs takes" }),
  epochs: real("Passes over the data, where --steps is not given.", { min: 0.001 }, { otherwise: "1" }),
  batch: integer("Rows in a batch.", { min: 1 }, { fallback: 8 }),
  length: integer(
    "Tokens in a row; short texts share one, long ones are cut.",
    { min: 2 },
    { otherwise: "512, or the model's positions if fewer" },
  ),
  accumulate: integer("Batches whose gradients make one step.", { min: 1 }, { fallback: 1 }),
  lr: real("Highest learning rate.", { min: 0 }, { fallback: 0.0002 }),
  schedule: choice(
    "How the learning rate falls after the warm-up.",
    ["cosine", "linear", "constant"],
    "cosine",
  ),
  warmup: integer(
    "Steps over which the learning rate rises.",
    { min: 0 },
    { otherwise: "a twentieth of the steps" },
  ),
  "weight-decay": real("Decoupled weight decay of AdamW.", { min: 0 }, { fallback: 0 }),
  clip: real("Largest norm of the gradients; 0 leaves them as they are.", { min: 0 }, { fallback: 1 }),
  "checkpoint-layers": toggle("Save memory: compute each layer again in the backward pass."),
  "loss-rows": integer(
    "Rows of logits that exist at a time.",
    { min: 1 },
    { otherwise: "as many as take 128 MiB" },
  ),
  "eval-every": integer(
    "Steps between scorings.",
    { min: 1 },
    { otherwise: "a tenth of the steps, at least 10" },
  ),
  "early-stop": integer(
    "End when so many scorings in a row have not been better.",
    { min: 1 },
    { otherwise: "never" },
  ),
  "save-every": integer(
    "Steps between checkpoints.",
    { min: 1 },
    { otherwise: "a tenth of the steps, at least 10" },
  ),
  prompt: text(
    "A text that is continued without and with the adapter, for the report.",
    {},
    { otherwise: "none" },
  ),
  dtype: precision,
  ...computing,
  profile: toggle("Tell at the end where the time went: the kernels and the work between them."),
  trace: text(
    "Write a trace, kernel by kernel up to 200,000, for chrome://tracing or ui.perfetto.dev.",
    { value: "FILE", expected: "the path of a file" },
    { otherwise: "none" },
  ),
  ...common,
};
export type FinetuneSettings = Values<typeof finetuneOptions>;

/** Refuses options that exclude each other. */
export function checkCombinations(settings: FinetuneSettings): void {
  const { steps, epochs, overwrite, resume, device, profile, trace } = settings;
  const both = (a: string, b: string): UsageError =>
    new UsageError({ where: `--${a}`, expected: `${a} or ${b}`, got: "both" });
  if (steps !== undefined && epochs !== undefined) throw both("steps", "epochs");
  if (overwrite && resume) throw both("overwrite", "resume");
  if (device === "reference" && (profile || trace !== undefined)) {
    throw new UsageError({
      where: profile ? "--profile" : "--trace",
      expected: "--device wasm or webgpu, which can be measured",
      got: "--device reference",
    });
  }
}

/** "q_proj,v_proj" as a list; "all-linear" and regular expressions as they are. */
export function targetsOf(given: string | string[]): string | string[] {
  if (typeof given !== "string" || given === "all-linear") return given;
  const names = given.split(",").map((name) => name.trim());
  return names.every((name) => /^[\w.]+$/.test(name)) ? names : given;
}

/** The learning rate over `total` steps. */
export function scheduleOf({ lr, schedule, warmup }: FinetuneSettings, total: number): Schedule {
  if (schedule === "constant" && warmup === undefined) return constantSchedule(lr);
  const rise = Math.min(warmup ?? Math.round(total / 20), total);
  if (schedule === "constant") return (step) => (step < rise ? (lr * (step + 1)) / rise : lr);
  return (schedule === "linear" ? linearSchedule : cosineSchedule)({ peak: lr, warmup: rise, total });
}
