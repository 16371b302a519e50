import { type Attached, attach, lora, savePeft } from "@lowrank/adapters";
import { type CausalLM, loadTokenizer, perplexity, type Tokenizer } from "@lowrank/models";
import { AdamW } from "@lowrank/optim";
import { type Backend, key } from "@lowrank/tensor";
import {
  batchTensors,
  findCheckpoint,
  type Example,
  type PackedBatch,
  pack,
  RunLog,
  type TrainEvent,
  type TrainResult,
  train,
  TrainingData,
  writeReport,
} from "@lowrank/train";
import { command, type Session } from "../command.js";
import { onDevice } from "../device.js";
import { Interrupted, UsageError } from "../fault.js";
import { loadModel, rowLength } from "../model-folder.js";
import { checkOut, OutFolder } from "../out-folder.js";
import { count, type Output, type Progress, percent } from "../output.js";
import { holdOut, loadTexts, longer } from "../texts.js";
import {
  checkCombinations,
  type FinetuneSettings,
  finetuneOptions,
  scheduleOf,
  targetsOf,
} from "./finetune-options.js";
import { describe, numbers, samples } from "./finetune-report.js";
import { compareSettings, lastSettings } from "./finetune-resume.js";

export const finetuneCommand = /* @__PURE__ */ command({
  name: "finetune",
  summary: "trains a LoRA adapter for a model on texts",
  about:
    "The model's own weights stay as they are; small matrices beside its linear layers are trained. The folder then holds adapter/ (PEFT's form, for generate, evaluate, merge and other programs), report.html with curves, log.jsonl, and checkpoints/ to go on from. Of records with prompt and completion only completions are learnt, of conversations only what the assistant says. Ctrl-C ends after the step under way and keeps a checkpoint.",
  options: finetuneOptions,
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

/** Everything that is needed before the first step, all of it checked. */
export interface Job {
  readonly model: CausalLM;
  readonly attached: Attached<CausalLM>;
  readonly data: TrainingData;
  readonly optimizer: AdamW;
  readonly heldOut: readonly PackedBatch[];
  readonly steps: number;
  readonly tokenizer: Tokenizer;
  readonly dataSha256: string;
  /** Default distance between evaluations and between checkpoints. */
  readonly tenth: number;
}

async function prepare(settings: FinetuneSettings, { output, signal }: Session): Promise<Job> {
  const { batch, seed, accumulate } = settings;
  const { model, input } = await loadModel(settings.model, { dtype: settings.dtype, signal });
  const tokenizer = await loadTokenizer(input);
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
  return {
    model,
    attached,
    data,
    optimizer,
    heldOut,
    steps,
    tenth: Math.max(10, Math.ceil(steps / 10)),
    tokenizer,
    dataSha256: all.sha256,
  };
}

async function finetune(settings: FinetuneSettings, session: Session, backend: Backend): Promise<void> {
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
    const { json: _json, debug: _debug, config: _config, ...kept } = settings;
    const entry = { type: "settings", ...kept, dataSha256: job.dataSha256 };
    const logFile = `${out.work}/log.jsonl`;
    const goesOn = settings.resume && (await findCheckpoint({ folder: `${out.work}/checkpoints` })) !== null;
    if (goesOn) compareSettings(out.work, lastSettings(logFile), entry, output);
    const log = RunLog.open(logFile, goesOn);
    log.add(entry);
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
      samples: await samples(settings, job, signal),
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
    const kept = await out.abandon();
    if (kept && !(error instanceof Interrupted))
      output.note(`checkpoints are kept in ${out.work}/checkpoints`);
    throw error;
  }
}

/** Scores the model as it is, trains, and tells. Null if stopped before anything was trained. */
async function learn(
  settings: FinetuneSettings,
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
    const begun = log.events.some((e) => e.type === "eval" && e.step === 0);
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
