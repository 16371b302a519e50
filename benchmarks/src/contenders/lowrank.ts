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
  softmax,
  type Tensor,
  tensor,
} from "@lowrank/tensor";
import {
  CHAIN,
  DECODER,
  decoderShapes,
  decoderValue,
  integers,
  MLP,
  matmulRow,
  numbers,
  ROWS,
} from "../inputs.js";
import { type Job, serve } from "../protocol.js";

const threads = Number(process.env["BENCH_THREADS"] ?? 1);
setDefaultBackend(await wasm({ threads }));

const matrix = (rows: number, columns: number, seed: number, scale = 1): Parameter =>
  parameter(tensor(numbers(rows * columns, seed, scale), { shape: [rows, columns] }));

/** Times `make`, and looks at the first and last numbers of what it makes. */
function single(make: () => Tensor): Job {
  return {
    async run() {
      const y = make();
      await evaluate(y);
      y.dispose();
    },
    async check() {
      const data = await make().data();
      return [data[0]!, data[data.length >> 1]!, data[data.length - 1]!];
    },
  };
}

class Mlp extends Module {
  layers = [0, 1, 2].map((i) => new Linear(MLP.sizes[i]!, MLP.sizes[i + 1]!, { key: key(i) }));

  forward(x: Tensor): Tensor {
    let h = x;
    for (const [i, layer] of this.layers.entries()) h = i < 2 ? relu(layer.forward(h)) : layer.forward(h);
    return h;
  }
}

function mlp(): Job {
  const model = new Mlp();
  for (const [i, layer] of model.layers.entries()) {
    const [from, to] = [MLP.sizes[i]!, MLP.sizes[i + 1]!];
    layer.weight.replace(
      tensor(numbers(from * to, 100 * (i + 1), 2 / Math.sqrt(from)), { shape: [to, from] }),
    );
    layer.bias!.replace(tensor(new Float32Array(to)));
  }
  const x = tensor(numbers(MLP.batch * 784, 7), { shape: [MLP.batch, 784] });
  const labels = tensor(integers(MLP.batch, 3, 10), { dtype: "i32", shape: [MLP.batch] });
  const optimizer = new AdamW(model.trainableParameters(), { lr: 1e-3, weightDecay: 0 });
  const gradients = valueAndGrad(model, () => crossEntropy(model.forward(x), labels));
  const step = async (): Promise<number> => {
    const { value, grads } = gradients();
    await optimizer.step(grads, { also: [value] });
    return value.item();
  };
  return {
    run: async () => void (await step()),
    check: async () => [await step(), await step(), await step()],
  };
}

function decoder(): Job {
  const { layers, width, heads, inner, vocabulary, batch, length } = DECODER;
  const config = parseLlamaConfig({
    architectures: ["LlamaForCausalLM"],
    model_type: "llama",
    vocab_size: vocabulary,
    hidden_size: width,
    intermediate_size: inner,
    num_hidden_layers: layers,
    num_attention_heads: heads,
    num_key_value_heads: heads,
    rms_norm_eps: 1e-5,
    rope_theta: 10000,
  });
  const model = new LlamaForCausalLM(config);
  const values = new Map(
    decoderShapes().map(([name, shape], i): [string, Tensor] => [
      name,
      tensor(decoderValue(i, shape), { shape }),
    ]),
  );
  model.loadState(values);
  model.train();
  const ids = tensor(integers(batch * length, 11, vocabulary), { dtype: "i32", shape: [batch, length] });
  const step = valueAndGrad(model, () => model.loss(ids, ids));
  return {
    async run() {
      const { value, grads } = step();
      await evaluate(value, ...grads.values());
      for (const g of grads.values()) g.dispose();
    },
    async check() {
      const { value, grads } = step();
      const norms = ["model.embed_tokens.weight", "model.layers.1.mlp.down_proj.weight"].map((name) =>
        grads.get(name)!.square().sum().sqrt(),
      );
      await evaluate(value, ...norms);
      return Promise.all([value, ...norms].map((t) => t.item()));
    },
  };
}

await serve({
  lib: "lowrank-wasm",
  details: `Node ${process.versions.node}`,
  async prepare(row) {
    const product = matmulRow(row);
    if (product) {
      const { n, transposeA, transposeB } = product;
      const [a, b] = [matrix(n, n, 1), matrix(n, n, 2)];
      return single(() => matmul(transposeA ? a.T : a, transposeB ? b.T : b));
    }
    switch (row) {
      case "chain": {
        const [x, y, z] = [1, 2, 3].map((seed) => parameter(tensor(numbers(CHAIN, seed, 4))));
        return single(() => gelu(x!.mul(y!).add(z!)));
      }
      case "softmax": {
        const x = matrix(ROWS.rows, ROWS.width, 1, 8);
        return single(() => softmax(x, -1));
      }
      case "layernorm": {
        const x = matrix(ROWS.rows, ROWS.width, 1, 8);
        const [w, b] = [2, 3].map((seed) => parameter(tensor(numbers(ROWS.width, seed, 2))));
        return single(() => layerNorm(x, w!, b!, { eps: 1e-5 }));
      }
      case "mlp":
        return mlp();
      case "decoder":
        return decoder();
      default:
        return `no row ${row}`;
    }
  },
});
