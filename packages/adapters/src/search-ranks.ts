import { withContext } from "@lowrank/nn";
import { ConfigError, gradients, type Key, key as makeKey, type Tensor } from "@lowrank/tensor";
import type { Attached } from "./attach.js";
import { type AutoLoraConfig, selectionThreshold, selectionWeights } from "./auto-lora.js";
import { expectInteger } from "./expect.js";
import { autoLoraParameters, hypergradient, type HypergradientOptions } from "./hypergradient.js";

/** What takes gradients by path and changes parameters by them: every optimizer of `@lowrank/optim`. */
export interface GradientStep {
  step(grads: ReadonlyMap<string, Tensor>, options?: { also?: readonly Tensor[] }): Promise<void>;
}

export interface SearchRanksOptions<B> extends HypergradientOptions {
  /** Batches for A and B; gone through again when they end. */
  train: Iterable<B> | AsyncIterable<B>;
  /** Batches of data that `train` does not have, for the selection variables. */
  validation: Iterable<B> | AsyncIterable<B>;
  /** Loss of a batch, a number in the graph. */
  loss: (batch: B) => Tensor;
  /** Optimizer of A and B. */
  weights: GradientStep;
  /** Optimizer of the selection variables. */
  selection: GradientStep;
  /** Steps of both levels. */
  steps: number;
  /** For dropout; each step draws from its own branch. Default `key(0)`. */
  key?: Key;
  /** Called after each step with the losses at which its gradients were taken. */
  onStep?: (step: { step: number; trainLoss: number; validationLoss: number }) => void;
  signal?: AbortSignal;
}

/** The batches of a source without end. */
async function* endless<B>(name: string, source: Iterable<B> | AsyncIterable<B>): AsyncGenerator<B, never> {
  for (;;) {
    let any = false;
    for await (const batch of source) {
      any = true;
      yield batch;
    }
    if (any) continue;
    throw new ConfigError({
      where: "searchRanks",
      expected: `${name} to have batches for every step`,
      got: "none, or a generator that has ended",
      hint: "give an array, or an object that can be gone through again",
    });
  }
}

/**
 * AutoLoRA's search: in each step the selection variables follow `hypergradient` on a batch of `validation`, then A and B the
 * gradient on a batch of `train`. Gives the rank that each layer should have, by path.
 *
 * Source: Zhang et al. 2024, arXiv:2403.09113.
 *
 * @throws ConfigError if the adapter is not `autoLora` or a source has no batches.
 * @category Choice of ranks
 */
export async function searchRanks<B>(
  adapted: Attached,
  options: SearchRanksOptions<B>,
): Promise<Record<string, number>> {
  const { loss, weights, selection, steps, key = makeKey(0), onStep, signal } = options;
  expectInteger("searchRanks", "steps", steps, { min: 1 });
  const own = autoLoraParameters(adapted).weights;
  const train = endless("train", options.train);
  const validation = endless("validation", options.validation);
  try {
    for (let step = 0; step < steps; step++) {
      signal?.throwIfAborted();
      const [batch, heldOut] = [(await train.next()).value, (await validation.next()).value];
      const context = { key: key.fold(step) };
      const upper = withContext(context, () =>
        hypergradient(
          adapted,
          () => withContext(context, () => loss(batch)),
          () => withContext(context, () => loss(heldOut)),
          options,
        ),
      );
      await selection.step(upper.grads, { also: [upper.value] });
      const lower = withContext(context, () => loss(batch));
      const grads = gradients(
        lower,
        own.map(([, p]) => p),
      );
      await weights.step(new Map(own.map(([path], i) => [path, grads[i]!])), { also: [lower] });
      onStep?.({ step, trainLoss: await lower.item(), validationLoss: await upper.value.item() });
    }
  } finally {
    await Promise.all([train.return(undefined as never), validation.return(undefined as never)]);
  }
  return selectedRanks(adapted);
}

export interface SelectedRanksOptions {
  /**
   * What is counted: "weights", the selection weights as the paper says; "variables", β / Σ β as the authors' code does.
   * Default "weights".
   */
  count?: "weights" | "variables";
}

/**
 * The rank of each layer of an AutoLoRA: how many of its selection weights are at least their mean 1 / rank ("sigmoid": ½;
 * "free": their mean), and 1 at least. All equal keep the whole rank, whatever softmax rounds them to.
 *
 * Source: Zhang et al. 2024, arXiv:2403.09113.
 * @category Choice of ranks
 */
export async function selectedRanks(
  adapted: Attached,
  { count = "weights" }: SelectedRanksOptions = {},
): Promise<Record<string, number>> {
  autoLoraParameters(adapted);
  const ranks: Record<string, number> = {};
  for (const { entry } of adapted.places) {
    const config: AutoLoraConfig = count === "variables" ? { selection: "free" } : entry.config;
    const weights = Array.from(await selectionWeights(entry.params["beta"]!, config).data(), Number);
    const threshold = selectionThreshold(weights, config) - 1e-6;
    ranks[entry.target.path] = Math.max(1, weights.filter((weight) => weight >= threshold).length);
  }
  return ranks;
}
