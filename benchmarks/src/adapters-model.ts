import { readFile } from "node:fs/promises";
import { fileURLToPath } from "node:url";
import { attach, type Attached, regularized } from "@lowrank/adapters";
import { type CausalLM, fromPretrained, loadTokenizer } from "@lowrank/models";
import { valueAndGrad, withContext } from "@lowrank/nn";
import { AdamW, clipByGlobalNorm, cosineSchedule } from "@lowrank/optim";
import { evaluate, key, type Tensor } from "@lowrank/tensor";
import {
  batchTensors,
  type Example,
  pack,
  type PackedBatch,
  parseJsonl,
  toExample,
  TrainingData,
} from "@lowrank/train";
import { ADAPTER_METHODS, type AdapterMethod, type MethodName, type Trainer } from "./adapters-methods.js";

/** `every`: of the batches of held-out chapters one in so many is scored. */
export const SETTINGS = { length: 256, batch: 2, warmup: 6, every: 3 } as const;

/** Batches that a start from data sees: the first that will be trained on. */
const CALIBRATION = 4;

const file = (path: string): string =>
  fileURLToPath(new URL(`../../examples/quickstart/${path}`, import.meta.url));

/** The base of the quick start, and Moby-Dick as it reads it. */
export interface Base {
  readonly examples: readonly Example[];
  readonly heldOut: readonly PackedBatch[];
}

export const loadModel = (): Promise<CausalLM> => fromPretrained(file("model"));

export async function loadTexts(): Promise<Base> {
  const tokenizer = await loadTokenizer(file("model"));
  const chapters = async (name: string): Promise<Example[]> => {
    const path = file(`data/moby-dick-${name}.jsonl`);
    return parseJsonl(await readFile(path, "utf8"), path).map((record) => toExample(record, tokenizer));
  };
  const heldOut = pack(await chapters("heldout"), { length: SETTINGS.length, batch: 8 });
  return { examples: await chapters("train"), heldOut: heldOut.filter((_, i) => i % SETTINGS.every === 0) };
}

export interface Run {
  readonly model: CausalLM;
  readonly attached: Attached | null;
  /** Does one update and gives its loss, without terms of the adapter. */
  step(): Promise<number>;
}

/** A method on a model, ready to be trained: AdamW unless it asks for others, gradients clipped to a norm of 1. */
export async function start(
  name: MethodName,
  model: CausalLM,
  { examples }: Base,
  { seed, steps, lr }: { seed: number; steps: number; lr?: number },
): Promise<Run> {
  const { adapter, config, optimizers, fromData, lr: own }: AdapterMethod = ADAPTER_METHODS[name];
  const source = () => new TrainingData(examples, { length: SETTINGS.length, batch: SETTINGS.batch, seed });
  let attached: Attached | null = null;
  if (fromData !== undefined) {
    const own = source();
    attached = await fromData(model, {
      batches: Array.from({ length: CALIBRATION }, () => batchTensors(own.next())),
      forward: ({ ids, segments }) => model.forward(ids, { segments }),
    });
  } else if (adapter !== null) {
    const own = typeof config === "function" ? config(steps) : config;
    attached = attach(model, adapter, own, { targets: "all-linear", key: key(seed) });
  }
  const schedule = cosineSchedule({
    peak: lr ?? own,
    warmup: Math.min(SETTINGS.warmup, steps),
    total: steps,
    final: 0.1 * (lr ?? own),
  });
  const all: Trainer[] = (attached && optimizers?.(attached, schedule)) ?? [
    new AdamW(model.trainableParameters(), { lr: schedule, weightDecay: 0 }),
  ];
  const data = source();
  let done = 0;
  return {
    model,
    attached,
    async step() {
      model.train();
      const { ids, labels, segments } = batchTensors(data.next());
      let plain: Tensor;
      const loss = (): Tensor => {
        plain = model.loss(ids, labels, { segments });
        return plain;
      };
      const { grads } = withContext({ key: key(seed).fold(done++) }, () =>
        valueAndGrad(model, () => regularized(model, loss))(),
      );
      const { grads: clipped } = clipByGlobalNorm(grads, 1);
      if (all.length === 1) await all[0]!.step(clipped, { also: [plain!] });
      else {
        // The second would see parameters that the first has changed: all gradients first.
        await evaluate(plain!, ...clipped.values());
        for (const optimizer of all) {
          const own = new Set(optimizer.paths!());
          await optimizer.step(new Map([...clipped].filter(([path]) => own.has(path))));
        }
      }
      return plain!.item();
    },
  };
}
