import { readFileSync } from "node:fs";
import { fileURLToPath } from "node:url";
import { wasm } from "@lowrank/backend-wasm";
import { GenerationContext, generate, type LlamaForCausalLM, perplexity } from "@lowrank/models";
import { svd } from "@lowrank/linalg";
import { type Attention, mfaFromAttention, valueAndGrad } from "@lowrank/nn";
import { AdamW, clipByGlobalNorm, cosineSchedule, noDecay } from "@lowrank/optim";
import { inverseFrequencies, setDefaultBackend, type Tensor, tensor } from "@lowrank/tensor";
import { parseJsonl } from "@lowrank/train";
import { attentionModel, KINDS, type KindName, LAYERS, WIDTH } from "./attention-models.js";
import { machine } from "./result.js";
import { median, quantile, significant } from "./statistics.js";

export const ATTENTION_ROWS = ["loss", "convert", "decode"] as const;
export type AttentionRow = (typeof ATTENTION_ROWS)[number];

interface Line {
  bench: "attention";
  kind: KindName;
  threads: number;
}

/** A model trained from a random start. */
export interface AttentionLoss extends Line {
  row: "loss";
  seed: number;
  about: string;
  parameters: number;
  attention_parameters: number;
  /** Of the whole model, by `cacheBytesPerToken` of its layers, which is what its cache has. */
  cache_bytes_per_token: number;
  cache_bytes_per_token_f16: number;
  steps: number;
  batch: number;
  length: number;
  /** Mean of the last 50 steps, in nats a byte. */
  training_loss: number;
  /** Over all bytes of the held-out chapters but the first of each window. */
  held_out_loss: number;
  held_out_bytes: number;
  /** What processors worked for a step: median. */
  step_cpu_ms: number;
}

/** What a token takes when a text is continued. */
export interface AttentionDecode extends Line {
  row: "decode";
  /** Positions in the cache before the first token. */
  context: number;
  turns: number;
  /** Tokens of a turn. */
  tokens: number;
  median_ms: number;
  q1_ms: number;
  q3_ms: number;
  cache_bytes: number;
  machine: string;
}

/** The model with MHA of the first seed, trained, with its attention cut to MFA: every layer to the same widths. */
export interface AttentionConvert extends Line {
  row: "convert";
  head_dim: number;
  query_dim: number;
  cache_bytes_per_token: number;
  /** ‖M − M̂‖ / ‖M‖ of the circuits, the mean of the layers. */
  query_key_error: number;
  value_output_error: number;
  /** Held out, in nats a byte: before the cut, after it, and after some more steps. */
  loss_before: number;
  loss_cut: number;
  steps: number;
  loss_trained: number;
}

export type AttentionLine = AttentionLoss | AttentionConvert | AttentionDecode;

export interface AttentionSettings {
  rows: readonly AttentionRow[];
  kinds: readonly KindName[];
  seeds: number;
  steps: number;
  threads: number;
  turns: number;
  quick: boolean;
  onLine: (line: AttentionLine) => void;
}

const [BATCH, LENGTH, PEAK] = [8, 128, 3e-3];
const CONTEXTS = [128, 4096];
const TOKENS = 24;
/** Widths of the key to which 4 heads of 32 are cut. */
const CUTS = [128, 96, 64, 48, 32];

/** The chapters of a file as one stream of bytes, each behind a zero. */
function stream(name: string): Int32Array {
  const path = fileURLToPath(
    new URL(`../../examples/quickstart/data/moby-dick-${name}.jsonl`, import.meta.url),
  );
  const encoder = new TextEncoder();
  const bytes = parseJsonl(readFileSync(path, "utf8"), path).flatMap((record) => {
    if (!("text" in record)) throw new Error(`bench attention: expected texts in ${path}`);
    return [0, ...encoder.encode(record.text)];
  });
  return Int32Array.from(bytes);
}

/** Bytes of a cache for each position, where the layers' own count and that of a cache agree. */
function cacheBytes(model: LlamaForCausalLM, dtype: "f32" | "f16"): number {
  const counted = model.model.layers.reduce((sum, l) => sum + l.self_attn.cacheBytesPerToken(dtype), 0);
  const cache = model.newCache({ capacity: 64, dtype });
  const held = cache.sizeBytes / 64;
  cache.dispose();
  if (counted !== held)
    throw new Error(`bench attention: layers count ${counted} bytes, the cache has ${held}`);
  return counted;
}

/** Trains each kind alike from each seed and scores it, then times tokens of all kinds in turns. */
export async function measureAttention(settings: AttentionSettings): Promise<void> {
  const { rows, kinds, seeds, threads } = settings;
  const backend = await wasm({ threads });
  setDefaultBackend(backend);
  const [train, heldOut] = [stream("train"), stream("heldout")];
  if (rows.includes("loss")) {
    for (const kind of kinds)
      for (let seed = 1; seed <= seeds; seed++) await measureLoss(kind, seed, train, heldOut, settings);
  }
  if (rows.includes("convert")) await measureConvert(train, heldOut, settings);
  if (rows.includes("decode")) await measureDecode(settings);
  await backend.dispose();
}

/** Rows that start at seeded random places of the stream: the same for all kinds. */
function* draws(ids: Int32Array, seed: number): Generator<Tensor, never> {
  let state = seed >>> 0;
  for (;;) {
    const rows = new Int32Array(BATCH * LENGTH);
    for (let row = 0; row < BATCH; row++) {
      state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
      const from = Math.floor((state / 2 ** 32) * (ids.length - LENGTH));
      rows.set(ids.subarray(from, from + LENGTH), row * LENGTH);
    }
    yield tensor(rows, { dtype: "i32", shape: [BATCH, LENGTH] });
  }
}

/** Windows one behind the other, all of a size. */
function* windows(ids: Int32Array): Generator<{ ids: Tensor; labels: Tensor }> {
  const size = 2 * BATCH * LENGTH;
  for (let from = 0; from + size <= ids.length; from += size) {
    const t = tensor(ids.slice(from, from + size), { dtype: "i32", shape: [2 * BATCH, LENGTH] });
    yield { ids: t, labels: t };
  }
}

/** Steps of AdamW with warm-up and a cosine: the loss of each, and what processors worked for it. */
async function trainModel(
  model: LlamaForCausalLM,
  batches: Generator<Tensor, never>,
  steps: number,
  peak: number,
): Promise<{ losses: number[]; cpu: number[] }> {
  const optimizer = new AdamW(model.trainableParameters(), {
    lr: cosineSchedule({ peak, warmup: Math.ceil(steps / 20), total: steps, final: peak / 20 }),
    betas: [0.9, 0.95],
    weightDecay: 0.1,
    groups: [{ match: noDecay, weightDecay: 0 }],
  });
  const step = valueAndGrad(model, (ids: Tensor) => model.loss(ids, ids));
  const [losses, cpu]: [number[], number[]] = [[], []];
  for (let i = 0; i < steps; i++) {
    const before = process.cpuUsage();
    const { value, grads } = step(batches.next().value);
    const { grads: clipped } = clipByGlobalNorm(grads, 1);
    await optimizer.step(clipped, { also: [value] });
    losses.push(await value.item());
    const { user, system } = process.cpuUsage(before);
    cpu.push((user + system) / 1000);
  }
  return { losses, cpu };
}

async function measureLoss(
  kind: KindName,
  seed: number,
  train: Int32Array,
  heldOut: Int32Array,
  { steps, threads, onLine }: AttentionSettings,
): Promise<void> {
  const model = attentionModel(kind, seed, LENGTH);
  const { losses, cpu } = await trainModel(model, draws(train, seed), steps, PEAK);
  const scored = await perplexity(model, windows(heldOut));
  const last = losses.slice(-50);
  onLine({
    bench: "attention",
    row: "loss",
    kind,
    threads,
    seed,
    about: KINDS[kind].about,
    parameters: model.countParameters().total,
    attention_parameters: LAYERS * model.model.layers[0]!.self_attn.countParameters().total,
    cache_bytes_per_token: cacheBytes(model, "f32"),
    cache_bytes_per_token_f16: cacheBytes(model, "f16"),
    steps,
    batch: BATCH,
    length: LENGTH,
    training_loss: significant(last.reduce((a, b) => a + b, 0) / last.length, 5),
    held_out_loss: significant(scored.loss, 5),
    held_out_bytes: scored.count,
    step_cpu_ms: significant(median(cpu), 3),
  });
  for (const [, p] of model.parameters()) p.dispose();
}

/** Trains MHA, then cuts it to MFA of each width and trains that a little more. */
async function measureConvert(
  train: Int32Array,
  heldOut: Int32Array,
  { steps, threads, quick, onLine }: AttentionSettings,
): Promise<void> {
  const model = attentionModel("MHA", 1, LENGTH);
  await trainModel(model, draws(train, 1), steps, PEAK);
  const score = async (): Promise<number> => significant((await perplexity(model, windows(heldOut))).loss, 5);
  const before = await score();
  const trained = model.model.layers.map((l) => l.self_attn as Attention);
  const start = new Map<string, Tensor>();
  for (const [path, p] of model.parameters())
    start.set(path, tensor(Float32Array.from(await p.data()), { shape: p.shape }));
  const more = quick ? 10 : Math.ceil(steps / 6);
  for (const headDim of quick ? [48] : CUTS) {
    const cuts = await Promise.all(
      trained.map((from) =>
        mfaFromAttention(from, {
          headDim,
          queryDim: WIDTH,
          inverseFrequencies: inverseFrequencies(from.headDim),
          svd,
        }),
      ),
    );
    for (const [i, { layer }] of cuts.entries()) model.model.layers[i]!.self_attn = layer;
    const cut = await score();
    await trainModel(model, draws(train, 2), more, PEAK / 3);
    const mean = (of: "queryKeyError" | "valueOutputError"): number =>
      significant(cuts.reduce((sum, c) => sum + c[of], 0) / cuts.length, 3);
    onLine({
      bench: "attention",
      row: "convert",
      kind: "MFA",
      threads,
      head_dim: headDim,
      query_dim: WIDTH,
      cache_bytes_per_token: cacheBytes(model, "f32"),
      query_key_error: mean("queryKeyError"),
      value_output_error: mean("valueOutputError"),
      loss_before: before,
      loss_cut: cut,
      steps: more,
      loss_trained: await score(),
    });
    for (const [i, layer] of trained.entries()) model.model.layers[i]!.self_attn = layer;
    model.loadState(start);
  }
  for (const [, p] of model.parameters()) p.dispose();
}

async function measureDecode({ kinds, threads, turns, quick, onLine }: AttentionSettings): Promise<void> {
  const text = stream("heldout");
  for (const length of quick ? CONTEXTS.slice(0, 1) : CONTEXTS) {
    const prompt = [...text.subarray(0, length)];
    const runs = kinds.map((kind) => {
      const model = attentionModel(kind, 1, 2 * length);
      return { kind, model, context: new GenerationContext(model), times: [] as number[] };
    });
    for (let turn = -1; turn < turns; turn++) {
      for (const { model, context, times } of turn % 2 ? [...runs].reverse() : runs) {
        let began = 0;
        // The first token reads the prompt, or what of it is not in the context.
        for await (const _ of generate(model, prompt, {
          greedy: true,
          stopIds: [],
          maxNewTokens: TOKENS + 1,
          context,
        })) {
          const now = performance.now();
          if (began > 0 && turn >= 0) times.push(now - began);
          began = now;
        }
      }
    }
    for (const { kind, model, context, times } of runs) {
      onLine({
        bench: "attention",
        row: "decode",
        kind,
        threads,
        context: length,
        turns,
        tokens: TOKENS,
        median_ms: significant(median(times)),
        q1_ms: significant(quantile(times, 0.25)),
        q3_ms: significant(quantile(times, 0.75)),
        cache_bytes: context.sizeBytes,
        machine: machine(),
      });
      context.dispose();
      for (const [, p] of model.parameters()) p.dispose();
    }
  }
}

/** What the experiment is, for its table. */
export const ABOUT = `${LAYERS} blocks of width ${WIDTH}, tokens are bytes of the quick start's Moby-Dick; the feed-forward block is as wide as makes all models equally large`;
