import { LlamaForCausalLM, parseLlamaConfig } from "@lowrank/models";
import { Linear, type Module, Sequential, valueAndGrad } from "@lowrank/nn";
import { AdamW } from "@lowrank/optim";
import { crossEntropy, key, relu, type Tensor, tensor } from "@lowrank/tensor";
import { integers, numbers } from "./inputs.js";

/** One training step: loss, gradients of all parameters, AdamW; the loss is read. */
export type TrainingStep = () => Promise<number>;

/** A model whose step is timed while one of its sizes doubles and the others stay. */
export interface Series {
  model: "decoder" | "MLP";
  /** What doubles. */
  axis: "batch" | "length" | "width" | "depth";
  first: number;
  about: string;
  make(size: number): TrainingStep;
}

function training(model: Module, loss: () => Tensor): TrainingStep {
  const optimizer = new AdamW(model.trainableParameters(), { lr: 1e-4 });
  model.train();
  const gradients = valueAndGrad(model, loss);
  return async () => {
    const { value, grads } = gradients();
    await optimizer.step(grads, { also: [value] });
    return value.item();
  };
}

const VOCABULARY = 512;
const HEAD = 32;

interface DecoderSizes {
  batch: number;
  length: number;
  width: number;
  depth: number;
}

/** A Llama with heads of 32, SwiGLU of three times the width, 512 tokens. */
function decoder({ batch, length, width, depth }: DecoderSizes): TrainingStep {
  const config = parseLlamaConfig({
    architectures: ["LlamaForCausalLM"],
    model_type: "llama",
    vocab_size: VOCABULARY,
    hidden_size: width,
    intermediate_size: 3 * width,
    num_hidden_layers: depth,
    num_attention_heads: width / HEAD,
    num_key_value_heads: width / HEAD,
    max_position_embeddings: Math.max(length, 2),
    tie_word_embeddings: false,
  });
  const model = new LlamaForCausalLM(config, { key: key(1) });
  const shape = [batch, length];
  const ids = tensor(integers({ shape, seed: 2, below: VOCABULARY }), { dtype: "i32", shape });
  return training(model, () => model.loss(ids, ids));
}

const CLASSES = 10;

/** Linear layers of one width with relu between them, and a last one to 10 classes. */
function mlp({ batch, width, depth }: Omit<DecoderSizes, "length">): TrainingStep {
  const hidden = Array.from({ length: depth }, (_, i) => new Linear(width, width, { key: key(i + 1) }));
  const layers = hidden.flatMap((layer) => [layer, relu]);
  const model = new Sequential(...layers, new Linear(width, CLASSES, { key: key(0) }));
  const x = tensor(numbers({ shape: [batch, width], seed: 3, scale: 2, offset: 0 }), {
    shape: [batch, width],
  });
  const y = tensor(integers({ shape: [batch], seed: 4, below: CLASSES }), { dtype: "i32", shape: [batch] });
  return training(model, () => crossEntropy(model.forward(x), y));
}

const DECODER: DecoderSizes = { batch: 4, length: 64, width: 64, depth: 2 };
const MLP = { batch: 64, width: 256, depth: 3 };

const ofDecoder = (axis: Series["axis"], first: number, base: Partial<DecoderSizes> = {}): Series => {
  const sizes = { ...DECODER, ...base };
  const { [axis]: _, ...fixed } = sizes;
  return {
    model: "decoder",
    axis,
    first,
    about: describe(fixed),
    make: (size) => decoder({ ...sizes, [axis]: size }),
  };
};

const ofMlp = (axis: "batch" | "width" | "depth", first: number): Series => {
  const { [axis]: _, ...fixed } = MLP;
  return { model: "MLP", axis, first, about: describe(fixed), make: (size) => mlp({ ...MLP, [axis]: size }) };
};

const describe = (fixed: object): string =>
  Object.entries(fixed)
    .map(([name, size]) => `${name} ${size}`)
    .join(", ");

export const SERIES = {
  "decoder-batch": ofDecoder("batch", 1),
  "decoder-length": ofDecoder("length", 16, { batch: 1 }),
  "decoder-width": ofDecoder("width", 32),
  "decoder-depth": ofDecoder("depth", 1),
  "mlp-batch": ofMlp("batch", 1),
  "mlp-width": ofMlp("width", 16),
  "mlp-depth": ofMlp("depth", 1),
} as const satisfies Record<string, Series>;
export type SeriesName = keyof typeof SERIES;
