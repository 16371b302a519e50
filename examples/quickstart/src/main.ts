/**
 * The quick start: adapts a small language model, pretrained on the State of the Union addresses, to Moby-Dick with
 * LoRA on the embedded backend or on a GPU, and shows what that did.
 *
 *   npm start                          the whole run
 *   npm start -- --json                one JSON object with all facts at the end
 *   npm start -- --steps 20 --rank 4   other settings (--help lists them)
 */
import { resolve } from "node:path";
import { attach, lora, savePeft } from "@lowrank/adapters";
import { type CausalLM, fromPretrained, loadTokenizer, perplexity } from "@lowrank/models";
import { AdamW } from "@lowrank/optim";
import { key, memory, setDefaultBackend } from "@lowrank/tensor";
import {
  batchTensors,
  type PackedBatch,
  type TrainEvent,
  TrainingData,
  train,
  writeReport,
} from "@lowrank/train";
import { Budget } from "./budget.js";
import { start } from "./device.js";
import { bold, dim, facts, Progress, wrap } from "./display.js";
import { readSettings, root } from "./settings.js";
import { chapters, continuation, heldOut } from "./text.js";

const TITLE = "A model of the State of the Union addresses reads Moby-Dick";

const LAYERS = ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"];

const whole = (x: number): string => Math.round(x).toLocaleString("en");
const percent = (x: number): string => `${(100 * x).toFixed(1)} %`;
const mebi = (bytes: number): string => `${Math.round(bytes / 2 ** 20)} MiB`;

/** The logits of a batch. */
const logits = (model: CausalLM, batch: PackedBatch): Promise<ArrayLike<number>> => {
  const { ids, segments } = batchTensors(batch);
  return model.forward(ids, { segments }).data();
};

function largestDifference(a: ArrayLike<number>, b: ArrayLike<number>): number {
  let largest = 0;
  for (let i = 0; i < a.length; i++) largest = Math.max(largest, Math.abs(a[i]! - b[i]!));
  return largest;
}

async function main(): Promise<void> {
  const settings = readSettings();
  const { "head-rank": headRank, steps, rank, length, batch, seed, prompt, json, quick } = settings;
  const out = resolve(settings.out);
  const say = (text: string): void => {
    if (!json) console.log(text);
  };

  const { backend, on, threads } = await start(settings);
  setDefaultBackend(backend);
  const model = await fromPretrained(`${root}model`);
  const tokenizer = await loadTokenizer(`${root}model`);
  const trainSet = await chapters(`${root}data/moby-dick-train.jsonl`, tokenizer, quick ? 4 : undefined);
  const testSet = heldOut(
    await chapters(`${root}data/moby-dick-heldout.jsonl`, tokenizer, quick ? 1 : undefined),
    length,
  );
  const score = () => perplexity(model, testSet.map(batchTensors));
  const write = () => continuation(model, tokenizer, prompt, settings.tokens);

  say(bold(`\n${TITLE}\n`));
  const before = await score();
  const textBefore = await write();
  say(
    `  It has never seen this book: its perplexity on held-out chapters is ${before.perplexity.toFixed(1)}.`,
  );

  // New words matter most when a model meets a book, so the output head gets the larger share of what is trained.
  const adapted = attach(
    model,
    lora,
    { rank, alpha: 2 * rank },
    headRank === 0
      ? { targets: "all-linear", key: key(seed) }
      : {
          targets: [...LAYERS, "lm_head"],
          rankPattern: { lm_head: headRank },
          alphaPattern: { lm_head: 2 * headRank },
          key: key(seed),
        },
  );
  const { trainable, total, share } = adapted.report();
  say(
    `  LoRA of rank ${rank} on every linear layer${headRank ? `, ${headRank} on the output head,` : ""} trains ${whole(trainable)} of ${whole(total)} numbers.\n`,
  );

  const budget = new Budget({ steps, peak: settings.lr, seconds: settings.seconds });
  const optimizer = new AdamW(model.trainableParameters(), { lr: budget.lr, weightDecay: 0 });
  const progress = new Progress(json);
  const events: TrainEvent[] = [];
  backend.resetPeak();
  const result = await train({
    model,
    optimizer,
    data: new TrainingData(trainSet, { length, batch, seed }),
    steps,
    seed,
    signal: budget.signal,
    onEvent(event) {
      events.push(event);
      if (event.type !== "step") return;
      budget.spend(event.ms);
      const rate = `loss ${event.loss.toFixed(3)}  ${whole(event.tokensPerSecond)} tokens/s`;
      progress.show(event.step, steps, `${rate}  ${Math.round(budget.secondsLeft(event.step))} s to go`);
    },
  });
  progress.end();
  const { peakBytes } = memory();
  if (result.step < steps) {
    say(dim(`  ended after ${result.step} steps, when its ${settings.seconds} s were over (--seconds)`));
  }

  const after = await score();
  const textAfter = await write();
  const apart = await logits(model, testSet[0]!);
  await savePeft(adapted, `${out}/adapter`, { baseModel: "lowrank/quickstart", replace: true });
  await adapted.merge();
  const mergedLogitDifference = largestDifference(apart, await logits(model, testSet[0]!));

  const trainingSeconds = result.stepMs / 1000;
  const record = {
    perplexityBefore: before.perplexity,
    perplexityAfter: after.perplexity,
    reduction: 1 - after.perplexity / before.perplexity,
    heldOutTokens: after.count,
    trainable,
    total,
    share,
    steps: result.step,
    trainingSeconds,
    secondsPerStep: trainingSeconds / result.step,
    tokensPerSecond: result.tokens / trainingSeconds,
    device: settings.device,
    on,
    threads,
    peakTensorBytes: peakBytes,
    peakProcessBytes: process.resourceUsage().maxRSS * 1024,
    mergedLogitDifference,
    prompt,
    continuationBefore: textBefore,
    continuationAfter: textAfter,
    adapter: `${out}/adapter`,
    report: `${out}/report.html`,
  };
  const table: [string, string][] = [
    [
      "held-out perplexity",
      `${before.perplexity.toFixed(1)} before, ${after.perplexity.toFixed(1)} after: ${percent(record.reduction)} lower, over ${whole(after.count)} tokens`,
    ],
    ["trained", `${whole(trainable)} of ${whole(total)} parameters, ${percent(share)}`],
    [
      "training",
      `${trainingSeconds.toFixed(1)} s: ${result.step} steps of ${record.secondsPerStep.toFixed(2)} s, ${whole(record.tokensPerSecond)} tokens/s on ${on}`,
    ],
    ["peak memory", `${mebi(peakBytes)} of tensors, ${mebi(record.peakProcessBytes)} of the process`],
    [
      "merged model",
      `logits differ by at most ${mergedLogitDifference.toExponential(1)} from base plus adapter`,
    ],
  ];
  await writeReport(record.report, {
    title: TITLE,
    facts: table,
    events,
    samples: [{ prompt, before: textBefore, after: textAfter }],
  });
  await backend.dispose();
  if (json) {
    console.log(JSON.stringify(record));
    return;
  }
  say(`\n${bold("What that did")}\n\n${facts(table)}\n`);
  say(`${bold("The same prompt, before and after")}\n\n  ${prompt} …\n`);
  say(`  ${dim("before")}\n${wrap(textBefore)}\n`);
  say(`  ${dim("after")}\n${wrap(textAfter)}\n`);
  say(`${bold("What it left")}\n`);
  say(
    facts([
      ["adapter", `${record.adapter}, in PEFT's form`],
      ["report", `${record.report}, opens in a browser`],
    ]),
  );
}

main().catch((error: unknown) => {
  const known = String((error as { code?: unknown } | null)?.code).startsWith("LOWRANK_");
  process.stderr.write(`${known ? (error as Error).message : String((error as Error)?.stack ?? error)}\n`);
  process.exit(1);
});
