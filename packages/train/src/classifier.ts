import type { TextClassifier } from "@lowrank/models";
import { ConfigError, softmax, type Tensor, tensor } from "@lowrank/tensor";
import { fill, type LabelledBatch, type LabelledData, type LabelledExample } from "./labelled-data.js";
import type { TrainLoopOptions, TrainResult } from "./train-options.js";
import { trainTask } from "./trainer.js";

export interface TrainClassifierOptions extends TrainLoopOptions {
  /** The model; what is trainable in it is trained. */
  model: TextClassifier;
  data: LabelledData;
  /** Computes each layer again in the backward pass instead of keeping what is inside it. Default false. */
  checkpointLayers?: boolean;
  /** Held-out examples, scored every so many steps and at the end. */
  evaluate?: { examples: readonly LabelledExample[]; every: number };
}

/** A batch as the model takes it. */
function tensors(
  model: TextClassifier,
  { rows, length }: LabelledBatch,
): { ids: Tensor; attentionMask: Tensor } {
  return model.batch(rows, Math.min(length, model.config.maxPositions));
}

/**
 * Trains what is trainable in a classifier of texts: the mean of −log p(class) over the texts of a step. Steps, clipping,
 * accumulation, checkpoints and resuming are those of {@link trainTask}.
 *
 * @example
 * ```ts
 * attach(model, lora, { rank: 8 }, { targets: "all-linear" });
 * for (const [, p] of model.classifier.parameters()) p.trainable = true; // a head that is made anew is trained too
 * const optimizer = new AdamW(model.trainableParameters(), { lr: 5e-4 });
 * await trainClassifier({ model, data: new LabelledData(examples, { batch: 32 }), optimizer, steps: 100 });
 * ```
 */
export async function trainClassifier(options: TrainClassifierOptions): Promise<TrainResult> {
  const { model, checkpointLayers = false, evaluate: evaluation, ...loop } = options;
  const loss = (batch: LabelledBatch): Tensor => {
    const { ids, attentionMask } = tensors(model, batch);
    const labels = tensor(Int32Array.from(batch.labels), { dtype: "i32" });
    return model.lossParts(ids, labels, { attentionMask, checkpoint: checkpointLayers }).sum;
  };
  if (evaluation === undefined) return trainTask({ ...loop, model, loss });
  const heldOut = async (): Promise<number> => {
    const all = await classProbabilities(model, evaluation.examples);
    const sum = all.reduce((s, p, i) => s - Math.log(p[evaluation.examples[i]!.label]!), 0);
    return sum / all.length;
  };
  return trainTask({ ...loop, model, loss, evaluate: { loss: heldOut, every: evaluation.every } });
}

export interface ClassifyTextsOptions {
  /** Texts that run at once. Default 32. */
  batch?: number;
  signal?: AbortSignal;
}

/**
 * Probabilities of the classes for each text, in the order of the texts; the model is in evaluation mode meanwhile. Texts of
 * similar length run together.
 */
export async function classProbabilities(
  model: TextClassifier,
  texts: readonly Pick<LabelledExample, "ids">[],
  { batch = 32, signal }: ClassifyTextsOptions = {},
): Promise<Float32Array[]> {
  if (!Number.isInteger(batch) || batch < 1) {
    throw new ConfigError({
      where: "classProbabilities",
      expected: "batch of at least 1",
      got: String(batch),
    });
  }
  const training = model.training;
  model.eval();
  try {
    const order = texts.map((_, i) => i).sort((a, b) => texts[a]!.ids.length - texts[b]!.ids.length || a - b);
    const out = new Array<Float32Array>(texts.length);
    const classes = model.labels.length;
    for (let from = 0; from < order.length; from += batch) {
      signal?.throwIfAborted();
      const places = order.slice(from, from + batch);
      const { ids, attentionMask } = tensors(
        model,
        fill(
          places.map((i) => ({ ids: texts[i]!.ids, label: 0 })),
          batch,
        ),
      );
      const data = Float32Array.from(await softmax(model.forward(ids, { attentionMask })).data());
      for (const [row, i] of places.entries()) out[i] = data.subarray(row * classes, (row + 1) * classes);
    }
    return out;
  } finally {
    model.train(training);
  }
}
