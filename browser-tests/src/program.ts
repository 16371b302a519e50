import { attach, loadPeft, lora, peftFiles } from "@lowrank/adapters";
import { wasm, type WasmBackend } from "@lowrank/backend-wasm";
import { webgpu } from "@lowrank/backend-webgpu";
import {
  encodeSafetensors,
  fromPretrained,
  generate,
  LlamaForCausalLM,
  openSafetensors,
  parseLlamaConfig,
  pretrainedFiles,
} from "@lowrank/models";
import { valueAndGrad } from "@lowrank/nn";
import { AdamW } from "@lowrank/optim";
import {
  defaultBackend,
  evaluate,
  gelu,
  gradients,
  key,
  layerNorm,
  matmul,
  normal,
  randint,
  setDefaultBackend,
  softmax,
  tanh,
  type Tensor,
} from "@lowrank/tensor";

/** What a run found. Numbers go through JSON, which keeps every bit of a finite one. */
export interface Outcome {
  readonly device: "wasm" | "webgpu";
  /** Of the embedded backend. */
  readonly threads?: number;
  readonly relaxed?: boolean;
  readonly isolated: boolean;
  /** As the place itself counts them. */
  readonly cores: number;
  readonly milliseconds: number;
  readonly values: Record<string, number[]>;
}

export interface Place {
  /** Left out: the backend that is found by itself, with its own default. */
  readonly threads?: number;
  /** Default: the embedded backend. */
  readonly webgpu?: boolean;
}

/** Does what a user would do, with fixed seeds, so that two places can be compared number by number. */
export async function run({ threads, webgpu: onGpu = false }: Place): Promise<Outcome> {
  const began = performance.now();
  if (onGpu) setDefaultBackend(await webgpu());
  else if (threads !== undefined) setDefaultBackend(await wasm({ threads }));
  const backend = await defaultBackend();
  const values = { ...(await core()), ...(await training()), ...(await files()) };
  const { threads: running, relaxed } = backend as Partial<WasmBackend>;
  return {
    device: onGpu ? "webgpu" : "wasm",
    threads: running,
    relaxed,
    isolated: globalThis.crossOriginIsolated === true,
    cores: globalThis.navigator?.hardwareConcurrency ?? 1,
    milliseconds: Math.round(performance.now() - began),
    values,
  };
}

const numbers = async (t: Tensor): Promise<number[]> => Array.from(await t.data());
const every = (step: number, all: number[]): number[] => all.filter((_, i) => i % step === 0);

async function core(): Promise<Record<string, number[]>> {
  const x = normal([64, 300], { key: key(1) });
  const w = normal([300, 120], { key: key(2), std: 0.1 });
  const [dx, dw] = gradients(
    layerNorm(tanh(matmul(gelu(x), w)))
      .square()
      .mul(w.sum(0))
      .mean(),
    [x, w],
  );
  const large = matmul(normal([512, 384], { key: key(3) }), normal([384, 512], { key: key(4) }));
  const loop = large
    .mul(0.01)
    .add(large.square())
    .sub(large.sum(0, { keepDims: true })); // has code of its own
  const elements = softmax(gelu(x)).mul(x.max(-1, { keepDims: true }));
  const product = matmul(x, w);
  await evaluate(elements, product, large, loop, dx!, dw!);
  return {
    elements: every(7, await numbers(elements)),
    matmul: every(3, await numbers(product)),
    "large matmul": every(61, await numbers(large)),
    "large loop": every(61, await numbers(loop)),
    "gradient of x": every(7, await numbers(dx!)),
    "gradient of w": every(13, await numbers(dw!)),
  };
}

const tiny = parseLlamaConfig({
  vocab_size: 64,
  hidden_size: 48,
  intermediate_size: 96,
  num_hidden_layers: 2,
  num_attention_heads: 4,
  num_key_value_heads: 2,
  max_position_embeddings: 128,
  initializer_range: 0.15,
});
const STEPS = 25;

/** LoRA on a tiny Llama that learns one batch by heart; `onStep` is told the number of each step that is done. */
export async function fineTune(steps: number, onStep: (done: number) => void = () => {}) {
  const model = new LlamaForCausalLM(tiny, { key: key(5) });
  const attached = attach(model, lora, { rank: 8, alpha: 16 }, { targets: "all-linear" });
  const ids = randint([4, 24], { key: key(6), max: 64 });
  const step = valueAndGrad(model, () => model.loss(ids, ids));
  const optimizer = new AdamW(model.trainableParameters(), { lr: 1e-2 });
  const losses: number[] = [];
  while (losses.length < steps) {
    const { value, grads } = step();
    await optimizer.step(grads, { also: [value] });
    onStep(losses.push(await value.item()));
  }
  const trained: number[] = [];
  for (const [, p] of model.trainableParameters()) trained.push(...every(17, await numbers(p)));
  return { model, attached, ids, losses, trained };
}

async function training(): Promise<Record<string, number[]>> {
  const { model, attached, ids, losses, trained } = await fineTune(STEPS);
  const tokens: number[] = [];
  const prompt = (await numbers(ids)).slice(0, 8);
  for await (const id of generate(model, prompt, { maxNewTokens: 12, stopIds: [] })) tokens.push(id);

  // As a page would save and load it: files by name, in blobs.
  const logits = await numbers(model.forward(ids));
  const base = await asBlobs(pretrainedFiles(model));
  const adapter = await asBlobs(await peftFiles(attached));
  const loaded = await fromPretrained(base);
  await loadPeft(loaded, adapter);
  const loadedLogits = await numbers(loaded.forward(ids));
  return {
    losses,
    "trained parameters": trained,
    "greedy tokens": tokens,
    logits: every(5, logits),
    "logits after saving and loading": every(5, loadedLogits),
  };
}

/** One safetensors blob, read back tensor by tensor. */
async function files(): Promise<Record<string, number[]>> {
  const x = Float32Array.from({ length: 24 }, (_, i) => i / 7);
  const ids = Int32Array.from({ length: 5 }, (_, i) => i * i);
  const bytes = await encodeSafetensors({
    x: { dtype: "F32", shape: [4, 6], data: x },
    ids: { dtype: "I32", shape: [5], data: ids },
  });
  const file = await openSafetensors(new Blob([bytes]), "small.safetensors");
  const read = async (name: string): Promise<number[]> =>
    Array.from((await file.tensors.get(name)!.array()) as Float32Array | Int32Array);
  return { "blob f32": await read("x"), "blob i32": await read("ids") };
}

type Contents = ReturnType<typeof pretrainedFiles> | ReadonlyMap<string, Uint8Array>;

async function asBlobs(contents: Contents): Promise<Map<string, Blob>> {
  const blobs = new Map<string, Blob>();
  for (const [name, content] of contents) {
    const parts: BlobPart[] = [];
    if (typeof content === "string" || content instanceof Uint8Array) parts.push(content as BlobPart);
    else for await (const part of content) parts.push(part as BlobPart);
    blobs.set(name, new Blob(parts));
  }
  return blobs;
}
