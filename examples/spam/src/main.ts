/**
 * Spam or not: MiniLM, an encoder of 22 million parameters, learns to tell with LoRA on its linear layers and a head of two classes,
 * beside logistic regression on its frozen vectors. Two thirds of the SpamAssassin mails are learnt, one third is held out.
 *
 *   pnpm --filter @lowrank-examples/spam start -- path/to/all-MiniLM-L6-v2
 */
import { mkdir, writeFile } from "node:fs/promises";
import { join, resolve } from "node:path";
import { fileURLToPath } from "node:url";
import { parseArgs } from "node:util";
import { attach, lora } from "@lowrank/adapters";
import { native } from "@lowrank/backend-native";
import { wasm } from "@lowrank/backend-wasm";
import {
  embed,
  loadSentenceConfig,
  loadTokenizer,
  modelFromPretrained,
  savePretrained,
} from "@lowrank/models";
import { AdamW, cosineSchedule } from "@lowrank/optim";
import { key, setDefaultBackend } from "@lowrank/tensor";
import {
  type ClassificationMetrics,
  classificationMetrics,
  classProbabilities,
  LabelledData,
  type LabelledExample,
  shuffled,
  trainClassifier,
} from "@lowrank/train";
import { logisticHead } from "./baseline.js";
import { loadMails } from "./corpus.js";

const here = fileURLToPath(new URL("../", import.meta.url));
const { values: flags, positionals } = parseArgs({
  allowPositionals: true,
  options: {
    device: { type: "string", default: "native" },
    rank: { type: "string", default: "8" },
    epochs: { type: "string", default: "1" },
    batch: { type: "string", default: "32" },
    length: { type: "string", default: "128" },
    lr: { type: "string", default: "0.001" },
    mails: { type: "string" },
    seed: { type: "string", default: "0" },
    out: { type: "string", default: join(here, "output") },
    json: { type: "boolean", default: false },
  },
});
const folder = positionals[0] ?? join(process.env["LOWRANK_TEST_MODELS"] ?? "models", "all-MiniLM-L6-v2");
const [rank, epochs, batch, length, lr, seed] = (
  ["rank", "epochs", "batch", "length", "lr", "seed"] as const
).map((name) => Number(flags[name])) as [number, number, number, number, number, number];
const say = (text: string): void => void (flags.json || console.log(text));
const percent = (x: number): string => `${(100 * x).toFixed(2)} %`;
const show = ({ accuracy, precision, recall, f1 }: ClassificationMetrics): string =>
  `accuracy ${percent(accuracy)}, precision ${percent(precision)}, recall ${percent(recall)}, F1 ${percent(f1)}`;

setDefaultBackend(flags.device === "wasm" ? await wasm() : await native());
const mails = shuffled(await loadMails(join(here, "mails")), seed, 0).slice(
  0,
  Number(flags.mails ?? Infinity),
);
const heldOut = mails.splice(0, Math.round(mails.length / 3));
const labelsOf = (of: typeof mails): number[] => of.map(({ spam }) => Number(spam));
say(
  `${mails.length} mails to learn, ${heldOut.length} held out; ${percent(labelsOf(heldOut).filter(Boolean).length / heldOut.length)} of those are spam`,
);

const tokenizer = await loadTokenizer(folder);
let began = performance.now();
const seconds = (): number => Math.round((performance.now() - began) / 100) / 10;

const encoder = await modelFromPretrained(folder, { task: "feature-extraction", resident: true });
const sentence = { ...(await loadSentenceConfig(folder)), maxLength: length };
const vectors = (of: typeof mails): Promise<Float32Array[]> =>
  embed(
    encoder,
    tokenizer,
    of.map(({ text }) => text),
    sentence,
  );
const frozen = await logisticHead(await vectors(mails), labelsOf(mails), await vectors(heldOut));
const baseline = { ...classificationMetrics(labelsOf(heldOut), frozen), seconds: seconds() };
for (const [, p] of encoder.parameters()) p.dispose();
say(`frozen encoder, logistic head: ${show(baseline)} (${baseline.seconds} s)`);

began = performance.now();
const labels = ["ham", "spam"];
const model = await modelFromPretrained(folder, {
  task: "text-classification",
  labels,
  key: key(seed),
  resident: true,
});
const adapted = attach(
  model,
  lora,
  { rank, alpha: 2 * rank },
  { targets: "all-linear", exclude: ["pooler.dense"], key: key(seed) },
);
for (const part of ["bert.pooler", model.outputHead]) model.at(part).unfreeze();
const cut = (text: string): number[] => {
  const ids = tokenizer.encode(text);
  return ids.length <= length ? ids : [...ids.slice(0, length - 1), ids.at(-1)!];
};
const examplesOf = (of: typeof mails): LabelledExample[] =>
  of.map(({ text, spam }) => ({ ids: cut(text), label: Number(spam) }));
const data = new LabelledData(examplesOf(mails), { batch, seed });
const steps = Math.round(epochs * data.batchesPerEpoch);
const { trainable, share } = adapted.report();
say(
  `LoRA of rank ${rank} on ${adapted.layers.length} layers and a new head: ${trainable} parameters (${percent(share)}), ${steps} steps`,
);
const optimizer = new AdamW(model.trainableParameters(), {
  lr: cosineSchedule({ peak: lr, total: steps, warmup: Math.ceil(steps / 10) }),
  weightDecay: 0.01,
});
const result = await trainClassifier({
  model,
  data,
  optimizer,
  steps,
  seed,
  onEvent: (e) => {
    if (e.type === "step" && (e.step % 10 === 0 || e.step === steps))
      say(`  step ${e.step}/${steps}: loss ${e.loss.toFixed(4)}, ${Math.round(e.tokensPerSecond)} tokens/s`);
  },
});
const probabilities = await classProbabilities(model, examplesOf(heldOut));
const found = probabilities.map((p) => Number(p[1]! > p[0]!));
const tuned = { ...classificationMetrics(labelsOf(heldOut), found), seconds: seconds() };
say(`LoRA: ${show(tuned)} (${tuned.seconds} s)`);

const out = resolve(flags.out);
await adapted.mergeAndUnload();
await mkdir(out, { recursive: true });
await savePretrained(model, join(out, "model"), { replace: true });
const facts = {
  mails: mails.length,
  heldOut: heldOut.length,
  length,
  rank,
  epochs,
  batch,
  lr,
  seed,
  steps,
  device: flags.device,
  baseline,
  tuned,
  loss: result.loss,
};
await writeFile(join(out, "result.json"), `${JSON.stringify(facts, null, 2)}\n`);
if (flags.json) console.log(JSON.stringify(facts));
say(`the classifier, merged, is in ${join(out, "model")}`);
process.exit(0);
