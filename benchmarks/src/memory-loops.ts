import { fileURLToPath } from "node:url";
import { attach, lora } from "@lowrank/adapters";
import { fromPretrained } from "@lowrank/models";
import { Linear, Module, valueAndGrad } from "@lowrank/nn";
import { AdamW, clipByGlobalNorm } from "@lowrank/optim";
import { crossEntropy, key, relu, type Tensor, tensor } from "@lowrank/tensor";
import { integers, numbers } from "./inputs.js";

/** A training loop of which one step is done at a time. Nothing in it is disposed of. */
export interface Loop {
  steps: number;
  quickSteps: number;
  /** What it is, in a line. */
  about: string;
  prepare(): Promise<(step: number) => Promise<number>>;
}

class Net extends Module {
  first = new Linear(64, 128, { key: key(1) });
  second = new Linear(128, 10, { key: key(2) });

  forward(x: Tensor): Tensor {
    return this.second.forward(relu(this.first.forward(x)));
  }
}

const mlp: Loop = {
  steps: 1000,
  quickSteps: 100,
  about: "64-128-10 network, batch 32, new data each step, AdamW",
  async prepare() {
    const model = new Net();
    const optimizer = new AdamW(model.trainableParameters(), { lr: 1e-3 });
    const gradients = valueAndGrad(model, (x: Tensor, y: Tensor) => crossEntropy(model.forward(x), y));
    return async (step) => {
      const x = tensor(numbers({ shape: [32, 64], seed: step, scale: 2, offset: 0 }), { shape: [32, 64] });
      const y = tensor(integers({ shape: [32], seed: -step, below: 10 }), { dtype: "i32", shape: [32] });
      const { value, grads } = gradients(x, y);
      await optimizer.step(grads, { also: [value] });
      return value.item();
    };
  },
};

const quickstart: Loop = {
  steps: 300,
  quickSteps: 20,
  about: "LoRA of rank 6 on every linear layer of the quick start's model, 4 × 128 tokens, clipping, AdamW",
  async prepare() {
    const model = await fromPretrained(
      fileURLToPath(new URL("../../examples/quickstart/model", import.meta.url)),
    );
    attach(model, lora, { rank: 6, alpha: 12 }, { targets: "all-linear", key: key(1) });
    model.train();
    const optimizer = new AdamW(model.trainableParameters(), { lr: 1e-3, weightDecay: 0 });
    const gradients = valueAndGrad(model, (ids: Tensor) => model.loss(ids, ids));
    const { vocabSize } = model.config;
    return async (step) => {
      const ids = tensor(integers({ shape: [4, 128], seed: step, below: vocabSize }), {
        dtype: "i32",
        shape: [4, 128],
      });
      const { value, grads } = gradients(ids);
      const clipped = clipByGlobalNorm(grads, 1);
      await optimizer.step(clipped.grads, { also: [value, clipped.norm] });
      return value.item();
    };
  },
};

export const LOOPS = { mlp, quickstart } as const;
export type LoopName = keyof typeof LOOPS;
