/** A LoRA fine-tune that takes a second: with dropout, accumulation, evaluation and checkpoints. */
import { type Attached, attach, lora } from "@lowrank/adapters";
import { type CausalLM, LlamaForCausalLM, parseLlamaConfig } from "@lowrank/models";
import { AdamW, cosineSchedule } from "@lowrank/optim";
import { key } from "@lowrank/tensor";
import { TrainingData } from "../src/data.js";
import type { Example } from "../src/example.js";
import { pack } from "../src/packing.js";
import type { TrainOptions } from "../src/train-options.js";

export const smallConfig = parseLlamaConfig({
  architectures: ["LlamaForCausalLM"],
  model_type: "llama",
  vocab_size: 32,
  hidden_size: 16,
  intermediate_size: 24,
  num_hidden_layers: 2,
  num_attention_heads: 2,
  num_key_value_heads: 1,
  max_position_embeddings: 64,
});

/** Texts of 3 to 20 tokens that count upwards, so that there is something to learn. */
export const smallExamples: readonly Example[] = Array.from({ length: 24 }, (_, i) => {
  const ids = Array.from({ length: 3 + ((i * 7) % 18) }, (_, t) => (i + t) % 32);
  return { ids, labels: ids };
});

export function smallRun(
  steps: number,
  more: Partial<TrainOptions> = {},
): { attached: Attached<CausalLM>; options: TrainOptions } {
  const model: CausalLM = new LlamaForCausalLM(smallConfig, { key: key(5) });
  const attached = attach(
    model,
    lora,
    { rank: 2, alpha: 4, dropout: 0.1 },
    { targets: "all-linear", key: key(6) },
  );
  const options: TrainOptions = {
    model,
    optimizer: new AdamW(model.trainableParameters(), {
      lr: cosineSchedule({ peak: 0.02, warmup: 2, total: steps }),
    }),
    data: new TrainingData(smallExamples, { length: 24, batch: 2, seed: 3 }),
    steps,
    accumulate: 2,
    evaluate: { batches: pack(smallExamples.slice(0, 8), { length: 24, batch: 2 }), every: 4 },
    seed: 7,
    ...more,
  };
  return { attached, options };
}
