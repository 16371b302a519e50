import { readFileSync } from "node:fs";
import { fileURLToPath } from "node:url";
import { attach, lora } from "@lowrank/adapters";
import { fromPretrained, loadTokenizer } from "@lowrank/models";
import { Linear, Module, valueAndGrad } from "@lowrank/nn";
import { AdamW } from "@lowrank/optim";
import { crossEntropy, key, relu, type Tensor, tensor } from "@lowrank/tensor";
import { parseJsonl, toExample, TrainingData, train } from "@lowrank/train";
import { integers, numbers } from "./inputs.js";

/** A training loop. Nothing in it is disposed of. */
export interface Loop {
  steps: number;
  quickSteps: number;
  /** What it is, in a line. */
  about: string;
  run(steps: number, onStep: (step: number, loss: number, ms: number) => void): Promise<void>;
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
  async run(steps, onStep) {
    const model = new Net();
    const optimizer = new AdamW(model.trainableParameters(), { lr: 1e-3 });
    const gradients = valueAndGrad(model, (x: Tensor, y: Tensor) => crossEntropy(model.forward(x), y));
    for (let step = 1; step <= steps; step++) {
      const began = performance.now();
      const x = tensor(numbers({ shape: [32, 64], seed: step, scale: 2, offset: 0 }), { shape: [32, 64] });
      const y = tensor(integers({ shape: [32], seed: -step, below: 10 }), { dtype: "i32", shape: [32] });
      const { value, grads } = gradients(x, y);
      await optimizer.step(grads, { also: [value] });
      onStep(step, await value.item(), performance.now() - began);
    }
  },
};

const quickStartFile = (path: string): string =>
  fileURLToPath(new URL(`../../examples/quickstart/${path}`, import.meta.url));

/** The training of `npm start`: its base, its chapters, its settings, by the trainer. */
const quickstart: Loop = {
  steps: 300,
  quickSteps: 20,
  about: "npm start: LoRA of rank 3 on the layers and 14 on the head, Moby-Dick packed into 4 × 256 tokens",
  async run(steps, onStep) {
    const model = await fromPretrained(quickStartFile("model"));
    const tokenizer = await loadTokenizer(quickStartFile("model"));
    const path = quickStartFile("data/moby-dick-train.jsonl");
    const examples = parseJsonl(readFileSync(path, "utf8"), path).map((r) => toExample(r, tokenizer));
    const layers = ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"];
    attach(
      model,
      lora,
      { rank: 3, alpha: 6 },
      {
        targets: [...layers, "lm_head"],
        rankPattern: { lm_head: 14 },
        alphaPattern: { lm_head: 28 },
        key: key(1),
      },
    );
    await train({
      model,
      optimizer: new AdamW(model.trainableParameters(), { lr: 0.01, weightDecay: 0 }),
      data: new TrainingData(examples, { length: 256, batch: 4, seed: 1 }),
      steps,
      onEvent(event) {
        if (event.type === "step") onStep(event.step, event.loss, event.ms);
      },
    });
  },
};

export const LOOPS = { mlp, quickstart } as const;
export type LoopName = keyof typeof LOOPS;
