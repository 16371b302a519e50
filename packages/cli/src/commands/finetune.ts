import { type Attached, attach, lora, savePeft } from "@lowrank/adapters";
import { type CausalLM, loadTokenizer, perplexity } from "@lowrank/models";
import { AdamW, constantSchedule, cosineSchedule, linearSchedule, type Schedule } from "@lowrank/optim";
import { type Backend, key } from "@lowrank/tensor";
import {
  batchTensors,
  type Example,
  type PackedBatch,
  pack,
  type TrainEvent,
  type TrainResult,
  train,
  TrainingData,
  writeReport,
} from "@lowrank/train";
import { command, common, computing, type Session } from "../command.js";
import { onDevice } from "../device.js";
import { Interrupted, UsageError } from "../fault.js";
import { loadModel, precision, rowLength } from "../model-folder.js";
import { choice, integer, operand, path, real, text, texts, toggle, type Values } from "../options.js";
import { checkOut, OutFolder } from "../out-folder.js";
import { bytes, count, type Output, type Progress, percent } from "../output.js";
import { RunLog } from "../run-log.js";
import { holdOut, loadTexts, longer } from "../texts.js";

const options = {
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
    "all-linear",
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
  "loss-rows": integer("Save memory: rows of logits that exist at a time.", { min: 1 }, { otherwise: "all" }),
  "eval-every": integer("Steps between scorings.", { min: 1 }, { otherwise: "a tenth of the steps" }),
  "early-stop": integer(
    "End when so many scorings in a row have not been better.",
    { min: 1 },
    { otherwise: "never" },
  ),
  "save-every": integer("Steps between checkpoints.", { min: 1 }, { otherwise: "a tenth of the steps" }),
  dtype: precision,
  ...computing,
  ...common,
};
type Settings = Values<typeof options>;

export const finetuneCommand = /* @__PURE__ */ command({
  name: "finetune",
  summary: "trains a LoRA adapter for a model on texts",
  about:
    "The model's own weights stay as they are; small matrices beside its linear layers are trained. The folder then holds adapter/ (PEFT's form, for generate, evaluate, merge and other programs), report.html with curves, log.jsonl, and checkpoints/ to go on from. Of records with prompt and completion only completions are learnt, of conversations only what the assistant says. Ctrl-C ends after the step under way and keeps a checkpoint.",
  options,
  headings: {
    out: "Output",
    "eval-data": "Held-out texts",
    rank: "Adapter",
    steps: "Training",
    "eval-every": "Scoring and checkpoints",
    dtype: "Machine",
    config: "General",
  },
  examples: [
    ["a first adapter, one pass over the data", "lowrank finetune models/base data.jsonl --out runs/first"],
    [
      "settings from a file, some of them changed, going on after a stop",
      "lowrank finetune --config run.yaml --rank 16 --targets q_proj,v_proj --resume",
    ],
  ],
  async run(settings, session) {
    checkCombinations(settings);
    const allowed = settings.overwrite || settings.resume;
    await checkOut(
      settings.out,
      allowed,
      "choose another, go on with --resume, or replace it with --overwrite",
    );
    await onDevice(settings, session.output, (backend) => finetune(settings, session, backend));
  },
});

function checkCombinations({ steps, epochs, overwrite, resume }: Settings): void {
  const both = (a: string, b: string): UsageError =>
    new UsageError({ where: `--${a}`, expected: `${a} or ${b}`, got: "both" });
  if (steps !== undefined && epochs !== undefined) throw both("steps", "epochs");
  if (overwrite && resume) throw both("overwrite", "resume");
}

/** "q_proj,v_proj" as a list; "all-linear" and regular expressions as they are. */
function targetsOf(given: string | string[]): string | string[] {
  if (typeof given !== "string" || given === "all-linear") return given;
  const names = given.split(",").map((name) => name.trim());
  return names.every((name) => /^[\w.]+$/.test(name)) ? names : given;
}

function scheduleOf({ lr, schedule, warmup }: Settings, total: number): Schedule {
  if (schedule === "constant" && warmup === undefined) return constantSchedule(lr);
  const rise = Math.min(warmup ?? Math.round(total / 20), total);
  if (schedule === "constant") return (step) => (step < rise ? (lr * (step + 1)) / rise : lr);
  return (schedule === "linear" ? linearSchedule : cosineSchedule)({ peak: lr, warmup: rise, total });
}

/** Everything that is needed before the first step, all of it checked. */
interface Job {
  readonly model: CausalLM;
  readonly attached: Attached<CausalLM>;
  readonly data: TrainingData;
  readonly optimizer: AdamW;
  readonly heldOut: readonly PackedBatch[];
  readonly steps: number;
  /** Default distance between evaluations and between checkpoints. */
  readonly tenth: number;
}

async function prepare(settings: Settings, { output, signal }: Session): Promise<Job> {
  const { batch, seed, accumulate } = settings;
  const { model } = await loadModel(settings.model, { dtype: settings.dtype, signal });
  const tokenizer = await loadTokenizer(settings.model);
  const length = rowLength(model, settings.length);
  const all = await loadTexts(settings.data, tokenizer, model, length);
  const evalPath = settings["eval-data"];
  let [training, scored]: (readonly Example[])[] = [all.examples, []];
  if (evalPath !== undefined) scored = (await loadTexts(evalPath, tokenizer, model, length)).examples;
  else ({ training, heldOut: scored } = holdOut(all, settings["eval-share"], seed));
  const cut = longer(all.examples, length);
  if (cut > 0)
    output.warn(`${cut} of ${all.examples.length} texts are longer than --length ${length} and are cut`);
  const heldOut = pack(scored!, { length, batch }).filter((b) => b.targets > 0);
  if (settings["early-stop"] !== undefined && heldOut.length === 0) {
    throw new UsageError({
      where: "--early-stop",
      expected: "held-out texts to go by",
      got: "none",
      hint: "give --eval-data or an --eval-share above 0",
    });
  }
  const { rank, alpha = 2 * rank, dropout, rslora: useRslora } = settings;
  const attached = attach(
    model,
    lora,
    { rank, alpha, dropout, useRslora },
    { targets: targetsOf(settings.targets), key: key(seed) },
  );
  const data = new TrainingData(training!, { length, batch, seed });
  const steps =
    settings.steps ?? Math.max(1, Math.ceil(((settings.epochs ?? 1) * data.batchesPerEpoch) / accumulate));
  const optimizer = new AdamW(model.trainableParameters(), {
    lr: scheduleOf(settings, steps),
    weightDecay: settings["weight-decay"],
  });
  return { model, attached, data, optimizer, heldOut, steps, tenth: Math.max(1, Math.ceil(steps / 10)) };
}

async function finetune(settings: Settings, session: Session, backend: Backend): Promise<void> {
  const { output, signal } = session;
  const job = await prepare(settings, session);
  const { attached, heldOut, steps } = job;
  const { trainable, total, share } = attached.report();
  output.note(
    `LoRA of rank ${settings.rank} on ${attached.layers.length} layers: ${count(trainable)} of ${count(total)} parameters (${percent(share)})`,
  );
  signal.throwIfAborted();
  const out = await OutFolder.open(settings.out, settings);
  try {
    const log = RunLog.open(`${out.work}/log.jsonl`, settings.resume);
    const { json: _json, debug: _debug, config: _config, ...kept } = settings;
    log.add({ type: "settings", ...kept });
    backend.resetPeak();
    const result = await learn(settings, job, out.work, log, session);
    if (result === null || result.reason === "aborted") {
      const at = result === null ? "before the first step" : `after step ${result.step} of ${steps}`;
      throw new Interrupted(`stopped ${at}; go on with the same command and --resume`);
    }
    const { peakBytes } = backend.memory();
    await savePeft(attached, `${out.work}/adapter`, { baseModel: settings.model, replace: true, signal });
    const facts = describe(log.events, result, job, peakBytes);
    await writeReport(`${out.work}/report.html`, {
      title: `Adapter for ${settings.model}`,
      facts,
      events: log.events,
    });
    await out.finish();
    output.record({
      type: "result",
      out: out.path,
      adapter: `${out.path}/adapter`,
      report: `${out.path}/report.html`,
      ...numbers(log.events, result, heldOut),
      trainable,
      total,
      share,
      peakTensorBytes: peakBytes,
    });
    output.table([...facts, ["adapter", `${out.path}/adapter`], ["report", `${out.path}/report.html`]]);
  } catch (error) {
    await out.abandon();
    throw error;
  }
}

/** Scores the model as it is, trains, and tells. Null if stopped before anything was trained. */
async function learn(
  settings: Settings,
  { model, data, optimizer, heldOut, steps, tenth }: Job,
  folder: string,
  log: RunLog,
  { output, signal }: Session,
): Promise<TrainResult | null> {
  const { clip, accumulate, seed } = settings;
  const bar = output.progress(steps, "training");
  let last = 0;
  const onEvent = (event: TrainEvent): void => {
    log.add(event);
    output.record(event);
    if (event.type === "step") last = event.step;
    tell(event, bar, output);
  };
  const every = settings["eval-every"] ?? tenth;
  const patience = settings["early-stop"];
  try {
    const begun = log.events.some((e) => e.type === "step");
    if (heldOut.length > 0 && !begun) {
      const began = performance.now();
      const { loss, perplexity: value } = await perplexity(model, heldOut.map(batchTensors), { signal });
      onEvent({ type: "eval", step: 0, loss, perplexity: value, best: false, ms: performance.now() - began });
    }
    const result = await train({
      model,
      optimizer,
      data,
      steps,
      accumulate,
      clipNorm: clip === 0 ? null : clip,
      checkpointLayers: settings["checkpoint-layers"],
      ...(settings["loss-rows"] === undefined ? {} : { lossRows: settings["loss-rows"] }),
      ...(heldOut.length > 0 ? { evaluate: { batches: heldOut, every } } : {}),
      ...(patience === undefined ? {} : { earlyStop: { patience } }),
      save: { folder: `${folder}/checkpoints`, every: settings["save-every"] ?? tenth },
      resume: settings.resume,
      seed,
      signal,
      onEvent,
    });
    bar.end(
      `${result.reason === "early-stop" ? "no longer better, ended" : "ended"} after step ${result.step}`,
    );
    return result.reason === "aborted" && result.step === 0 ? null : result;
  } catch (error) {
    bar.end(`ended after step ${last}`);
    throw error;
  }
}

function tell(event: TrainEvent, bar: Progress, output: Output): void {
  if (event.type === "step") {
    bar.show(event.step, `loss ${event.loss.toFixed(3)}  ${Math.round(event.tokensPerSecond)} tokens/s`);
  } else if (event.type === "eval") {
    bar.line(`step ${event.step}: held-out perplexity ${event.perplexity.toFixed(2)}`);
  } else if (event.type === "resume") {
    bar.line(`going on after step ${event.step} (${event.path})`);
  } else if (event.type === "warning") output.warn(event.message);
}

function numbers(
  events: readonly TrainEvent[],
  { step, reason, loss, tokens }: TrainResult,
  heldOut: readonly PackedBatch[],
): Record<string, unknown> {
  const evals = events.filter((e) => e.type === "eval");
  const stepped = events.filter((e) => e.type === "step");
  const seconds = stepped.reduce((sum, e) => sum + e.ms, 0) / 1000;
  return {
    steps: step,
    reason,
    loss,
    tokens,
    seconds,
    secondsPerStep: seconds / stepped.length,
    heldOutTokens: heldOut.reduce((sum, b) => sum + b.targets, 0),
    perplexityBefore: evals.find((e) => e.step === 0)?.perplexity ?? null,
    perplexityAfter: evals.findLast((e) => e.step > 0)?.perplexity ?? null,
  };
}

function describe(
  events: readonly TrainEvent[],
  result: TrainResult,
  { attached, heldOut }: Job,
  peakBytes: number,
): [string, string][] {
  const n = numbers(events, result, heldOut) as Record<string, number | null>;
  const { trainable, total, share } = attached.report();
  const rows: [string, string][] = [];
  if (n["perplexityAfter"] != null) {
    const before = n["perplexityBefore"] == null ? "" : `${n["perplexityBefore"].toFixed(2)} before, `;
    rows.push(["held-out perplexity", `${before}${n["perplexityAfter"].toFixed(2)} after`]);
  }
  rows.push(
    ["trained", `${count(trainable)} of ${count(total)} parameters (${percent(share)})`],
    [
      "training",
      `${result.step} steps, ${n["seconds"]!.toFixed(1)} s, ${Math.round(result.tokens / n["seconds"]!)} tokens/s`,
    ],
    ["last loss", result.loss.toFixed(4)],
    ["peak memory of tensors", bytes(peakBytes)],
  );
  return rows;
}
