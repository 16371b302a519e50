import { wasm } from "@lowrank/backend-wasm";
import { LlamaForCausalLM, parseLlamaConfig } from "@lowrank/models";
import { Linear, Module, valueAndGrad } from "@lowrank/nn";
import { AdamW } from "@lowrank/optim";
import {
  crossEntropy,
  evaluate,
  gelu,
  key,
  layerNorm,
  matmul,
  type Parameter,
  parameter,
  relu,
  setDefaultBackend,
  slice,
  softmax,
  type Tensor,
  tensor,
} from "@lowrank/tensor";
import { digest } from "../check.js";
import { type Drawn, type Filled, integers, numbers } from "../inputs.js";
import { type Check, type Job, serve } from "../protocol.js";
import type { DecoderSpec } from "../rows/decoder.js";
import type { MlpSpec } from "../rows/mlp.js";

const threads = Number(process.env["BENCH_THREADS"] ?? 1);
setDefaultBackend(await wasm({ threads }));

const fill = (f: Filled): Tensor => tensor(numbers(f), { shape: f.shape });
const draw = (d: Drawn): Tensor => tensor(integers(d), { dtype: "i32", shape: d.shape });
/** An input that lives on the device, as weights and activations do. */
const resident = (f: Filled): Parameter => parameter(fill(f));

/** Evaluates `make()` whole and reads its last number. */
function single(make: () => Tensor): Job {
  return {
    async run() {
      const y = make();
      const last = slice(
        y,
        y.shape.map((n): [number, number] => [n - 1, n]),
      );
      await evaluate(y, last);
      await last.item();
      y.dispose();
      last.dispose();
    },
    check: async () => digest((await make().data()) as Float32Array),
  };
}

class Mlp extends Module {
  readonly layers: Linear[];

  constructor(weights: readonly Filled[]) {
    super();
    this.layers = weights.map((f) => {
      const layer = new Linear(f.shape[1]!, f.shape[0]!, { key: key(0) });
      layer.weight.replace(fill(f));
      layer.bias!.replace(tensor(new Float32Array(f.shape[0]!)));
      return layer;
    });
  }

  forward(x: Tensor): Tensor {
    const last = this.layers.length - 1;
    return this.layers.reduce((h, layer, i) => (i < last ? relu(layer.forward(h)) : layer.forward(h)), x);
  }
}

function mlp({ weights, x, labels, lr, beta1, beta2, eps }: MlpSpec): Job {
  const model = new Mlp(weights);
  const [input, target] = [parameter(fill(x)), draw(labels)];
  const optimizer = new AdamW(model.trainableParameters(), {
    lr,
    betas: [beta1, beta2],
    eps,
    weightDecay: 0,
  });
  const gradients = valueAndGrad(model, () => crossEntropy(model.forward(input), target));
  const losses: number[] = [];
  const run = async (): Promise<void> => {
    const { value, grads } = gradients();
    await optimizer.step(grads, { also: [value] });
    const loss = await value.item();
    if (losses.length < 5) losses.push(loss);
  };
  return { run, check: () => firstLosses(run, losses) };
}

/** The losses of the first five steps: they differ where gradients or the optimizer do. */
async function firstLosses(run: () => Promise<void>, losses: readonly number[]): Promise<Check> {
  while (losses.length < 5) await run();
  return Object.fromEntries(losses.map((loss, i) => [`loss ${i}`, [loss]]));
}

function decoder(spec: DecoderSpec): Job {
  const config = parseLlamaConfig({
    architectures: ["LlamaForCausalLM"],
    model_type: "llama",
    vocab_size: spec.vocabulary,
    hidden_size: spec.width,
    intermediate_size: spec.inner,
    num_hidden_layers: spec.layers,
    num_attention_heads: spec.heads,
    num_key_value_heads: spec.heads,
    rms_norm_eps: spec.eps,
    rope_theta: spec.theta,
    tie_word_embeddings: false,
  });
  const model = new LlamaForCausalLM(config);
  model.loadState(new Map(Object.entries(spec.weights).map(([name, f]) => [name, fill(f)])));
  model.train();
  const ids = draw(spec.ids);
  const gradients = valueAndGrad(model, () => model.loss(ids, ids));
  return {
    async run() {
      const { value, grads } = gradients();
      await evaluate(value, ...grads.values());
      await value.item();
      for (const g of grads.values()) g.dispose();
    },
    async check() {
      const { value, grads } = gradients();
      await evaluate(value, ...grads.values());
      const check: Check = { loss: [await value.item()] };
      for (const [name, g] of grads) check[name] = digest((await g.data()) as Float32Array)["elements"]!;
      return check;
    },
  };
}

await serve({
  lib: "lowrank-wasm",
  details: `@lowrank/backend-wasm, Node ${process.versions.node}`,
  threads,
  jobs: {
    matmul({ a, b, transposeA, transposeB }) {
      const [x, y] = [resident(a), resident(b)];
      return single(() => matmul(transposeA ? x.T : x, transposeB ? y.T : y));
    },
    chain(spec) {
      const [x, y, z] = [resident(spec.x), resident(spec.y), resident(spec.z)];
      return single(() => gelu(x.mul(y).add(z)));
    },
    softmax(spec) {
      const x = resident(spec.x);
      return single(() => softmax(x, -1));
    },
    layernorm({ eps, ...spec }) {
      const [x, weight, bias] = [resident(spec.x), resident(spec.weight), resident(spec.bias)];
      return single(() => layerNorm(x, weight, bias, { eps }));
    },
    mlp,
    decoder,
  },
});
