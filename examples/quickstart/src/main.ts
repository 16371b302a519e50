/**
 * The quick start: adapts a small language model, pretrained on the State of the Union addresses, to Moby-Dick with
 * LoRA on the embedded backend, and shows what that did.
 *
 *   npm start                          the whole run
 *   npm start -- --json                one JSON object with all facts at the end
 *   npm start -- --steps 20 --rank 4   other settings (--help lists them)
 */
import { resolve } from "node:path";
import { fileURLToPath } from "node:url";
import { parseArgs } from "node:util";
import { attach, lora, savePeft } from "@lowrank/adapters";
import { wasm } from "@lowrank/backend-wasm";
import { fromPretrained, loadTokenizer, perplexity } from "@lowrank/models";
import { AdamW, cosineSchedule } from "@lowrank/optim";
import { evaluate, key, memory, setDefaultBackend, type Tensor } from "@lowrank/tensor";
import { batchTensors, type TrainEvent, train, TrainingData, writeReport } from "@lowrank/train";
import { bold, dim, facts, Progress, wrap } from "./display.js";
import { chapters, continuation, heldOut } from "./text.js";

const { values: flags } = parseArgs({
  options: {
    steps: { type: "string", default: "200" },
    rank: { type: "string", default: "6" },
    lr: { type: "string", default: "0.01" },
    batch: { type: "string", default: "8" },
    length: { type: "string", default: "256" },
    seconds: { type: "string", default: "120" },
    threads: { type: "string" },
    seed: { type: "string", default: "1" },
    prompt: { type: "string", default: "The old captain stood upon the deck and looked" },
    out: { type: "string" },
    json: { type: "boolean", default: false },
    help: { type: "boolean", default: false },
  },
});
if (flags.help) {
  console.log(`npm start -- [options]

  --steps N      optimizer steps                                   200
  --rank N       rank of the LoRA matrices                         6
  --lr X         highest learning rate                             0.01
  --batch N      rows in a batch                                   8
  --length N     tokens in a row                                   256
  --seconds N    ends the training after this time                 120
  --threads N    threads of the backend                            all cores
  --seed N       order of the chapters and random start            1
  --prompt TEXT  what the model is to continue
  --out FOLDER   for the adapter and report.html                   examples/quickstart/output
  --json         one JSON object with all facts instead of text`);
  process.exit(0);
}

const root = fileURLToPath(new URL("../", import.meta.url));
const out = resolve(flags.out ?? `${root}output`);
const [steps, length, seed] = [Number(flags.steps), Number(flags.length), Number(flags.seed)];
const say = (text: string): void => {
  if (!flags.json) console.log(text);
};
const progress = new Progress(flags.json);

const backend = await wasm(flags.threads ? { threads: Number(flags.threads) } : {});
setDefaultBackend(backend);
const model = await fromPretrained(`${root}model`);
const tokenizer = await loadTokenizer(`${root}model`);
const trainSet = await chapters(`${root}data/moby-dick-train.jsonl`, tokenizer);
const testSet = heldOut(await chapters(`${root}data/moby-dick-heldout.jsonl`, tokenizer), length);

say(bold("\nA model of the State of the Union addresses reads Moby-Dick\n"));
say(dim("  Chapters it will not see, before:"));
const score = () => perplexity(model, testSet.map(batchTensors));
const before = await score();
const textBefore = await continuation(model, tokenizer, flags.prompt, 60);
say(`  perplexity ${before.perplexity.toFixed(1)}\n`);

const rank = Number(flags.rank);
const adapted = attach(model, lora, { rank, alpha: 2 * rank }, { targets: "all-linear", key: key(seed) });
const { trainable, total, share } = adapted.report();
const optimizer = new AdamW(model.trainableParameters(), {
  lr: cosineSchedule({
    peak: Number(flags.lr),
    warmup: Math.min(10, steps),
    total: steps,
    final: Number(flags.lr) / 10,
  }),
  weightDecay: 0,
});
const events: TrainEvent[] = [];
const budget = new AbortController();
let trainingMs = 0;
say(
  dim(
    `  LoRA of rank ${rank} on every linear layer: ${trainable.toLocaleString("en")} of ${total.toLocaleString("en")} numbers`,
  ),
);
backend.resetPeak();
const result = await train({
  model,
  optimizer,
  data: new TrainingData(trainSet, { length, batch: Number(flags.batch), seed }),
  steps,
  seed,
  signal: budget.signal,
  onEvent: (event) => {
    events.push(event);
    if (event.type !== "step") return;
    trainingMs += event.ms;
    if (trainingMs > Number(flags.seconds) * 1000) budget.abort();
    progress.show(
      event.step,
      steps,
      `loss ${event.loss.toFixed(3)}  ${Math.round(event.tokensPerSecond)} tokens/s`,
    );
  },
});
const { peakBytes } = memory();
const after = await score();
const textAfter = await continuation(model, tokenizer, flags.prompt, 60);

/** The logits of the first held-out rows. */
async function logits(): Promise<ArrayLike<number>> {
  const { ids, segments } = batchTensors(testSet[0]!);
  const all: Tensor = model.forward(ids, { segments });
  await evaluate(all);
  return all.data();
}
const apart = await logits();
await savePeft(adapted, `${out}/adapter`, { baseModel: "lowrank/quickstart", replace: true });
await adapted.merge();
const merged = await logits();
let difference = 0;
for (let i = 0; i < apart.length; i++) difference = Math.max(difference, Math.abs(apart[i]! - merged[i]!));

const record = {
  perplexityBefore: before.perplexity,
  perplexityAfter: after.perplexity,
  reduction: 1 - after.perplexity / before.perplexity,
  heldOutTokens: after.count,
  trainable,
  total,
  share,
  steps: result.step,
  trainingSeconds: result.stepMs / 1000,
  secondsPerStep: result.stepMs / 1000 / result.step,
  tokensPerSecond: result.tokens / (result.stepMs / 1000),
  peakTensorBytes: peakBytes,
  peakProcessBytes: process.resourceUsage().maxRSS * 1024,
  mergedLogitDifference: difference,
  prompt: flags.prompt,
  continuationBefore: textBefore,
  continuationAfter: textAfter,
  adapter: `${out}/adapter`,
  report: `${out}/report.html`,
};
const percent = (x: number): string => `${(100 * x).toFixed(1)} %`;
const mebi = (bytes: number): string => `${Math.round(bytes / 2 ** 20)} MiB`;
const table: [string, string][] = [
  [
    "held-out perplexity",
    `${before.perplexity.toFixed(1)} before, ${after.perplexity.toFixed(1)} after (${percent(record.reduction)} lower)`,
  ],
  [
    "trained",
    `${trainable.toLocaleString("en")} of ${total.toLocaleString("en")} parameters, ${percent(share)}`,
  ],
  [
    "training",
    `${record.trainingSeconds.toFixed(1)} s: ${result.step} steps of ${record.secondsPerStep.toFixed(2)} s, ${Math.round(record.tokensPerSecond)} tokens/s`,
  ],
  ["peak memory", `${mebi(peakBytes)} of tensors, ${mebi(record.peakProcessBytes)} of the process`],
  ["merged model", `logits differ by at most ${difference.toExponential(1)} from base plus adapter`],
];
await writeReport(record.report, {
  title: "A model of the State of the Union addresses reads Moby-Dick",
  facts: table,
  events,
  samples: [{ prompt: flags.prompt, before: textBefore, after: textAfter }],
});
if (flags.json) console.log(JSON.stringify(record));
else {
  say(`\n${bold("What that did")}\n\n${facts(table)}\n`);
  say(`  ${dim("before")} ${bold(flags.prompt)} …\n${wrap(textBefore)}\n`);
  say(`  ${dim("after")}  ${bold(flags.prompt)} …\n${wrap(textAfter)}\n`);
  say(
    facts([
      ["adapter", `${record.adapter} (PEFT's form)`],
      ["report", record.report],
    ]),
  );
}
