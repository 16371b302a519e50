import * as tf from "@tensorflow/tfjs";
import { digest } from "../check.js";
import { type Drawn, type Filled, integers, numbers } from "../inputs.js";
import type { Check, Job, Jobs } from "../protocol.js";
import type { AttentionSpec } from "../rows/attention.js";
import type { DecoderSpec } from "../rows/decoder.js";
import type { MlpSpec } from "../rows/mlp.js";

const fill = (f: Filled): tf.Tensor => tf.tensor(numbers(f), f.shape);
const draw = (d: Drawn): tf.Tensor => tf.tensor(integers(d), d.shape, "int32");

type Parts = { y: tf.Tensor; [part: string]: tf.Tensor };

/**
 * Runs `make()` and reads the last number of y: kernels are done when they return, or queued before that read is.
 * `as` turns a part to the layout in which it is compared.
 */
function parts(make: () => Parts, as: (part: tf.Tensor) => tf.Tensor = (part) => part): Job {
  let made: Parts | null = null;
  return {
    async run() {
      if (made) tf.dispose(made);
      made = tf.tidy(make);
      const { y } = made;
      const last = tf.slice(
        y,
        y.shape.map((n) => n - 1),
        y.shape.map(() => 1),
      );
      await last.data();
      last.dispose();
    },
    async check() {
      const check: Check = {};
      for (const [part, t] of Object.entries(made!)) check[part] = digest(await as(t).data())["elements"]!;
      return check;
    },
  };
}

const single = (make: () => tf.Tensor): Job => parts(() => ({ y: make() }));

/** y = f(inputs), and where `dy` arrives at it the gradients for the inputs, by their names. */
function differentiated(
  f: (...inputs: tf.Tensor[]) => tf.Tensor,
  inputs: Record<string, tf.Tensor>,
  dy: tf.Tensor | null,
  as?: (part: tf.Tensor) => tf.Tensor,
): Job {
  const xs = Object.values(inputs);
  if (!dy) return parts(() => ({ y: f(...xs) }), as);
  const both = tf.valueAndGrads(f);
  return parts(() => {
    const { value, grads } = both(xs, dy);
    return { y: value, ...Object.fromEntries(Object.keys(inputs).map((name, i) => [`d${name}`, grads[i]!])) };
  }, as);
}

/** No op of this library: the products and the softmax of it, with heads outermost so that none is turned in a run. */
function attention({ causal, ...spec }: AttentionSpec): Job {
  const swapped = (x: tf.Tensor): tf.Tensor => tf.transpose(x, [0, 2, 1, 3]);
  const inputs = Object.fromEntries(
    (["q", "k", "v"] as const).map((name) => [name, swapped(fill(spec[name]))]),
  );
  const [, length, , size] = spec.q.shape as [number, number, number, number];
  const hidden = causal ? maskAfter(length) : null;
  const attend = (q?: tf.Tensor, k?: tf.Tensor, v?: tf.Tensor): tf.Tensor => {
    const scores = tf.mul(tf.matMul(q!, k!, false, true), size ** -0.5);
    return tf.matMul(tf.softmax(hidden ? tf.add(scores, hidden) : scores), v!);
  };
  return differentiated(attend, inputs, spec.dy && swapped(fill(spec.dy)), swapped);
}

/** [length, length]: 0 where position j may be seen from i, a large negative number where j > i. */
function maskAfter(length: number): tf.Tensor {
  const values = new Float32Array(length * length);
  for (let i = 0; i < length; i++) values.fill(-1e9, i * length + i + 1, (i + 1) * length);
  return tf.tensor(values, [length, length]);
}

function mlp({ weights, x, labels, lr, beta1, beta2, eps }: MlpSpec): Job {
  const variables = weights.flatMap((f) => [tf.variable(fill(f)), tf.variable(tf.zeros([f.shape[0]!]))]);
  const input = fill(x);
  const target = tf.oneHot(draw(labels), labels.below).toFloat();
  const optimizer = tf.train.adam(lr, beta1, beta2, eps);
  const losses: number[] = [];
  const forward = (): tf.Scalar => {
    let h = input;
    for (let i = 0; i < variables.length; i += 2) {
      h = tf.add(tf.matMul(h, variables[i]!, false, true), variables[i + 1]!);
      if (i + 2 < variables.length) h = tf.relu(h);
    }
    return tf.losses.softmaxCrossEntropy(target, h) as tf.Scalar;
  };
  const run = async (): Promise<void> => {
    const loss = optimizer.minimize(forward, true, variables)!;
    const value = (await loss.data())[0]!;
    loss.dispose();
    if (losses.length < 5) losses.push(value);
  };
  return {
    run,
    async check() {
      while (losses.length < 5) await run();
      return Object.fromEntries(losses.map((l, i) => [`loss ${i}`, [l]]));
    },
  };
}

/** The model as this library writes it. Where a kernel of the backward pass is missing, its first run says which. */
function decoder(spec: DecoderSpec): Job {
  const { layers, width, heads, vocabulary, batch, length, eps, theta } = spec;
  const size = width / heads;
  const p = Object.fromEntries(
    Object.entries(spec.weights).map(([name, f]) => [name, tf.variable(fill(f), true, name)]),
  );
  const ids = draw(spec.ids) as tf.Tensor2D;
  const targets = tf.oneHot(tf.slice(ids, [0, 1], [batch, length - 1]).reshape([-1]), vocabulary).toFloat();
  const positions = tf.range(0, length).reshape([length, 1]);
  const angle = tf.mul(positions, tf.pow(theta, tf.mul(tf.range(0, size, 2), -1 / size)));
  const [cos, sin] = [tf.cos(angle), tf.sin(angle)];
  const hidden = maskAfter(length);

  const norm = (x: tf.Tensor, name: string): tf.Tensor =>
    tf.mul(tf.mul(x, tf.rsqrt(tf.add(tf.mean(tf.square(x), -1, true), eps))), p[`${name}.weight`]!);
  const linear = (x: tf.Tensor, name: string): tf.Tensor => tf.matMul(x, p[`${name}.weight`]!, false, true);
  const toHeads = (x: tf.Tensor): tf.Tensor =>
    tf.transpose(tf.reshape(x, [batch, length, heads, size]), [0, 2, 1, 3]);
  const rope = (x: tf.Tensor): tf.Tensor => {
    const [a, b] = tf.split(x, 2, -1) as [tf.Tensor, tf.Tensor];
    return tf.concat([tf.sub(tf.mul(a, cos), tf.mul(b, sin)), tf.add(tf.mul(b, cos), tf.mul(a, sin))], -1);
  };
  const loss = (): tf.Scalar => {
    let h: tf.Tensor = tf.gather(p["model.embed_tokens.weight"]!, ids.flatten());
    for (let l = 0; l < layers; l++) {
      const at = `model.layers.${l}`;
      const x = norm(h, `${at}.input_layernorm`);
      const [q, k, v] = ["q", "k", "v"].map((n) => toHeads(linear(x, `${at}.self_attn.${n}_proj`))) as [
        tf.Tensor,
        tf.Tensor,
        tf.Tensor,
      ];
      const scores = tf.add(tf.mul(tf.matMul(rope(q), rope(k), false, true), size ** -0.5), hidden);
      const o = tf.reshape(tf.transpose(tf.matMul(tf.softmax(scores), v), [0, 2, 1, 3]), [-1, width]);
      h = tf.add(h, linear(o, `${at}.self_attn.o_proj`));
      const y = norm(h, `${at}.post_attention_layernorm`);
      const gate = linear(y, `${at}.mlp.gate_proj`);
      const inner = tf.mul(tf.mul(gate, tf.sigmoid(gate)), linear(y, `${at}.mlp.up_proj`));
      h = tf.add(h, linear(inner, `${at}.mlp.down_proj`));
    }
    const states = tf.reshape(norm(h, "model.norm"), [batch, length, width]);
    const kept = tf.reshape(tf.slice(states, [0, 0, 0], [batch, length - 1, width]), [-1, width]);
    return tf.losses.softmaxCrossEntropy(targets, linear(kept, "lm_head")) as tf.Scalar;
  };
  const once = () => tf.variableGrads(loss, Object.values(p));
  return {
    async run() {
      const { value, grads } = once();
      await value.data();
      tf.dispose([value, ...Object.values(grads)]);
    },
    async check() {
      const { value, grads } = once();
      const check: Check = { loss: [(await value.data())[0]!] };
      for (const [name, g] of Object.entries(grads)) check[name] = digest(await g.data())["elements"]!;
      return check;
    },
  };
}

/** Rows in this library, on the backend that is set. */
export const tfjsJobs: Jobs = {
  decomposition: () => "it takes no part",
  matmul({ a, b, transposeA, transposeB }) {
    const [x, y] = [fill(a), fill(b)];
    return single(() => tf.matMul(x, y, transposeA, transposeB));
  },
  chain(spec) {
    const [x, y, z] = [fill(spec.x), fill(spec.y), fill(spec.z)];
    return single(() => {
      const t = tf.add(tf.mul(x, y), z);
      return tf.mul(tf.mul(t, 0.5), tf.add(tf.erf(tf.mul(t, Math.SQRT1_2)), 1));
    });
  },
  rank(spec) {
    const inputs = { x: fill(spec.x), a: fill(spec.a), b: fill(spec.b) };
    return differentiated((x, a, b) => tf.matMul(tf.matMul(x!, a!), b!), inputs, spec.dy && fill(spec.dy));
  },
  softmax: (spec) => differentiated((x) => tf.softmax(x!), { x: fill(spec.x) }, spec.dy && fill(spec.dy)),
  layernorm(spec) {
    const inputs = { x: fill(spec.x), weight: fill(spec.weight), bias: fill(spec.bias) };
    const normed = (x?: tf.Tensor, weight?: tf.Tensor, bias?: tf.Tensor): tf.Tensor => {
      const centred = tf.sub(x!, tf.mean(x!, -1, true));
      const scale = tf.rsqrt(tf.add(tf.mean(tf.square(centred), -1, true), spec.eps));
      return tf.add(tf.mul(tf.mul(centred, scale), weight!), bias!);
    };
    return differentiated(normed, inputs, spec.dy && fill(spec.dy));
  },
  attention,
  mlp,
  decoder,
  matvec({ weights, x, copies }) {
    if (!("values" in weights) || weights.dtype !== "f32")
      return `it has no ${weights.dtype} weights: f32 is what it can do`;
    const [input, first] = [fill(x), fill(weights.values)];
    const ws = Array.from({ length: copies }, (_, i) => (i === 0 ? first : tf.add(first, 0)));
    let turn = 0;
    return single(() => tf.matMul(input, ws[turn++ % copies]!, false, true));
  },
};
