import { Linear, Module, valueAndGrad } from "@lowrank/nn";
import { AdamW } from "@lowrank/optim";
import {
  attention,
  concat,
  crossEntropy,
  cumsum,
  evaluate,
  gelu,
  gradients,
  key,
  layerNorm,
  matmul,
  type Parameter,
  parameter,
  relu,
  softmax,
  sort,
  sqrt,
  sum,
  take,
  type Tensor,
  tensor,
  transpose,
} from "@lowrank/tensor";
import { filled, integers, numbers } from "./inputs.js";

/** Does the work once; when it returns, the results exist on the device. */
export type Run = () => Promise<void>;

export interface ThreadOp {
  /** What the size counts. */
  readonly size: string;
  /** Largest size of the sweep. */
  readonly most: number;
  make(size: number): Run;
}

const input = (shape: number[], seed = 1): Parameter =>
  parameter(tensor(numbers(filled(shape, seed, 2)), { shape }));

/** The result goes into a parameter, so that nothing is read back or given a name beside the work. */
function into(shape: number[], make: () => Tensor): Run {
  const out = input(shape, 9);
  return () => evaluate(out.assign(make()));
}

/** About as many rows as columns: `size` numbers or a few less. */
function matrix(size: number): [rows: number, columns: number] {
  const columns = Math.max(1, Math.round(Math.sqrt(size)));
  return [Math.max(1, Math.floor(size / columns)), columns];
}

/** m ← 0.9 m + 0.1 g, v ← 0.999 v + 0.001 g², p ← p − lr m / (√v + ε): three results of one loop. */
function adam(size: number): Run {
  const [p, g, m] = [input([size], 1), input([size], 2), input([size], 3)];
  const v = parameter(tensor(numbers(filled([size], 4, 1, 1))));
  return () => {
    const m1 = m.mul(0.9).add(g.mul(0.1));
    const v1 = v.mul(0.999).add(g.square().mul(0.001));
    return evaluate(m.assign(m1), v.assign(v1), p.assign(p.sub(m1.div(sqrt(v1).add(1e-8)).mul(1e-3))));
  };
}

class Network extends Module {
  readonly up: Linear;
  readonly down: Linear;

  constructor(width: number) {
    super();
    this.up = new Linear(64, width, { key: key(1) });
    this.down = new Linear(width, 10, { key: key(2) });
  }

  forward(x: Tensor): Tensor {
    return this.down.forward(relu(this.up.forward(x)));
  }
}

/** A training step: many commands, of which some are small at any width. */
function step(width: number): Run {
  const model = new Network(width);
  const [x, labels] = [input([32, 64]), tensor(integers({ shape: [32], seed: 2, below: 10 }))];
  const optimizer = new AdamW(model.trainableParameters(), { lr: 1e-3 });
  const gradients = valueAndGrad(model, () => crossEntropy(model.forward(x), labels));
  return async () => {
    const { value, grads } = gradients();
    await optimizer.step(grads, { also: [value] });
    value.dispose();
  };
}

const elements = (make: (size: number) => Run, most = 1e7): ThreadOp => ({ size: "elements", most, make });
const ofMatrix = (make: (shape: [number, number]) => Run): ThreadOp => elements((size) => make(matrix(size)));

/** The rows of `bench threads`. */
export const THREAD_OPS: Readonly<Record<string, ThreadOp>> = {
  add: elements((n) => {
    const [x, y] = [input([n], 1), input([n], 2)];
    return into([n], () => x.add(y));
  }),
  chain: elements((n) => {
    const [x, y, z] = [input([n], 1), input([n], 2), input([n], 3)];
    return into([n], () => gelu(x.mul(y).add(z)));
  }),
  adam: elements(adam),
  sum: elements((n) => {
    const x = input([n]);
    return into([], () => sum(x));
  }),
  "sum-rows": ofMatrix(([rows, columns]) => {
    const x = input([rows, columns]);
    return into([rows], () => sum(x, 1));
  }),
  "sum-columns": ofMatrix(([rows, columns]) => {
    const x = input([rows, columns]);
    return into([columns], () => sum(x, 0));
  }),
  softmax: ofMatrix((shape) => {
    const x = input(shape);
    return into(shape, () => softmax(x, -1));
  }),
  layernorm: ofMatrix((shape) => {
    const [x, weight, bias] = [input(shape), input([shape[1]], 2), input([shape[1]], 3)];
    return into(shape, () => layerNorm(x, weight, bias));
  }),
  transpose: ofMatrix(([rows, columns]) => {
    const x = input([rows, columns]);
    return into([columns, rows], () => transpose(x));
  }),
  concat: elements((n) => {
    const [x, y] = [input([Math.ceil(n / 2)]), input([Math.floor(n / 2) + 1], 2)];
    return into([x.size + y.size], () => concat([x, y]));
  }),
  // Rows of 64 numbers from a table of a thousand.
  gather: elements((n) => {
    const count = Math.ceil(n / 64);
    const table = input([1000, 64]);
    const indices = parameter(tensor(integers({ shape: [count], seed: 2, below: 1000 })), {
      trainable: false,
    });
    return into([count, 64], () => take(table, indices));
  }),
  // Gradient of the table of such a gather.
  "scatter-add": elements((n) => {
    const count = Math.ceil(n / 64);
    const [table, updates] = [input([1000, 64]), input([count, 64], 2)];
    const indices = parameter(tensor(integers({ shape: [count], seed: 2, below: 1000 })), {
      trainable: false,
    });
    return into([1000, 64], () => gradients(take(table, indices), [table], updates)[0]!);
  }),
  cumsum: ofMatrix((shape) => {
    const x = input(shape);
    return into(shape, () => cumsum(x));
  }),
  sort: elements((n) => {
    const shape: [number, number] = matrix(n);
    const x = input(shape);
    return into(shape, () => sort(x).values);
  }, 1e6),
  // Loss of rows of logits, and its gradient.
  "cross-entropy": ofMatrix(([rows, columns]) => {
    const logits = input([rows, columns]);
    const labels = parameter(tensor(integers({ shape: [rows], seed: 2, below: columns })), {
      trainable: false,
    });
    return into([rows, columns], () => gradients(crossEntropy(logits, labels), [logits])[0]!);
  }),
  // Four heads of 32, causal, with the gradient of the queries.
  attention: {
    size: "positions",
    most: 1000,
    make(n) {
      const shape = [1, 4, n, 32];
      const [q, k, v] = [input(shape, 1), input(shape, 2), input(shape, 3)];
      return into(shape, () => gradients(attention(q, k, v, { causal: true }).sum(), [q])[0]!);
    },
  },
  matmul: {
    size: "n of an n × n product",
    most: 512,
    make(n) {
      const [a, b] = [input([n, n], 1), input([n, n], 2)];
      return into([n, n], () => matmul(a, b));
    },
  },
  // One row, as decoding has it.
  matvec: {
    size: "n of an n × n matrix",
    most: 3162,
    make(n) {
      const [x, w] = [input([1, n], 1), input([n, n], 2)];
      return into([1, n], () => matmul(x, transpose(w)));
    },
  },
  step: { size: "width of a 64-width-10 network, batch of 32, AdamW", most: 1e4, make: step },
};
