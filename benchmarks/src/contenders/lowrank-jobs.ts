import { LlamaForCausalLM, parseLlamaConfig } from "@lowrank/models";
import { Linear, Module, valueAndGrad } from "@lowrank/nn";
import { AdamW } from "@lowrank/optim";
import {
  attention,
  cast,
  crossEntropy,
  evaluate,
  gelu,
  gradients,
  key,
  layerNorm,
  matmul,
  type Parameter,
  parameter,
  quantizedMatmul,
  relu,
  slice,
  softmax,
  type Tensor,
  tensor,
} from "@lowrank/tensor";
import { digest } from "../check.js";
import { type Drawn, type Filled, integers, numbers } from "../inputs.js";
import type { Check, Job, Jobs } from "../protocol.js";
import { decomposition } from "./lowrank-decompositions.js";
import type { DecoderSpec } from "../rows/decoder.js";
import type { MatvecSpec } from "../rows/matvec.js";
import type { MlpSpec } from "../rows/mlp.js";

const fill = (f: Filled): Tensor => tensor(numbers(f), { shape: f.shape });
const draw = (d: Drawn): Tensor => tensor(integers(d), { dtype: "i32", shape: d.shape });
/** An input that lives on the device, as weights and activations do. */
const resident = (f: Filled): Parameter => parameter(fill(f));

/** Evaluates what `make` returns, whole, and reads the last number of y. */
function parts(make: () => { y: Tensor; [part: string]: Tensor }): Job {
  return {
    async run() {
      const made = make();
      const last = slice(
        made.y,
        made.y.shape.map((n): [number, number] => [n - 1, n]),
      );
      const all = [...Object.values(made), last];
      await evaluate(...all);
      await last.item();
      for (const t of all) t.dispose();
    },
    async check() {
      const made = make();
      await evaluate(...Object.values(made));
      const check: Check = {};
      for (const [part, t] of Object.entries(made))
        check[part] = digest((await t.data()) as Float32Array)["elements"]!;
      return check;
    },
  };
}

const single = (make: () => Tensor): Job => parts(() => ({ y: make() }));

/** y, and where `dy` arrives at it the gradients for the inputs, by their names. */
function differentiated(y: Tensor, inputs: Record<string, Parameter>, dy: Parameter | null) {
  if (!dy) return { y };
  const found = gradients(y, Object.values(inputs), dy);
  return { y, ...Object.fromEntries(Object.keys(inputs).map((name, i) => [`d${name}`, found[i]!])) };
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

/** Codes as `quantizedMatmul` takes them: of 8 bits with the middle at 0, of 4 bits two to a byte. */
function stored(codes: Drawn, bits: 8 | 4): Tensor {
  const raw = integers(codes);
  const [rows, columns] = codes.shape as [number, number];
  if (bits === 8)
    return tensor(
      Int8Array.from(raw, (q) => q - 128),
      { shape: [rows, columns] },
    );
  const pairs = Uint8Array.from({ length: raw.length / 2 }, (_, i) => raw[2 * i]! | (raw[2 * i + 1]! << 4));
  return tensor(pairs, { shape: [rows, columns / 2] });
}

async function matvec({ weights, x, copies }: MatvecSpec): Promise<Job | string> {
  const input = resident(x);
  const each = (values: Tensor): Parameter[] =>
    Array.from({ length: copies }, () => parameter(values, { trainable: false }));
  let turn = 0;
  if ("values" in weights) {
    const ws = each(cast(fill(weights.values), weights.dtype));
    await evaluate(...ws); // each has its own memory before the first run
    return single(() => matmul(input, ws[turn++ % copies]!.T));
  }
  const { bits, group: groupSize, codes } = weights;
  const [ws, scales] = [each(stored(codes, bits)), each(fill(weights.scales))];
  await evaluate(...ws, ...scales);
  return single(() => {
    const i = turn++ % copies;
    // x in integers of 8 bits by blocks of 32, as onnxruntime takes it.
    return quantizedMatmul(input, ws[i]!, scales[i]!, { bits, groupSize, activations: "int8" });
  });
}

/** Rows in this library, on the default backend. */
export const lowrankJobs: Jobs = {
  decomposition,
  matmul({ a, b, transposeA, transposeB }) {
    const [x, y] = [resident(a), resident(b)];
    return single(() => matmul(transposeA ? x.T : x, transposeB ? y.T : y));
  },
  rank(spec) {
    const [x, a, b] = [resident(spec.x), resident(spec.a), resident(spec.b)];
    const dy = spec.dy && resident(spec.dy);
    return parts(() => differentiated(matmul(matmul(x, a), b), { x, a, b }, dy));
  },
  chain(spec) {
    const [x, y, z] = [resident(spec.x), resident(spec.y), resident(spec.z)];
    return single(() => gelu(x.mul(y).add(z)));
  },
  softmax(spec) {
    const x = resident(spec.x);
    const dy = spec.dy && resident(spec.dy);
    return parts(() => differentiated(softmax(x, -1), { x }, dy));
  },
  layernorm({ eps, ...spec }) {
    const [x, weight, bias] = [resident(spec.x), resident(spec.weight), resident(spec.bias)];
    const dy = spec.dy && resident(spec.dy);
    return parts(() => differentiated(layerNorm(x, weight, bias, { eps }), { x, weight, bias }, dy));
  },
  attention({ causal, ...spec }) {
    const [q, k, v] = [resident(spec.q), resident(spec.k), resident(spec.v)];
    const dy = spec.dy && resident(spec.dy);
    return parts(() => differentiated(attention(q, k, v, { causal }), { q, k, v }, dy));
  },
  mlp,
  decoder,
  matvec,
};
