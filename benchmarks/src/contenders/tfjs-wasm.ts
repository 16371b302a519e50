import { createRequire } from "node:module";
import { dirname } from "node:path";
import * as tf from "@tensorflow/tfjs";
import { setWasmPaths } from "@tensorflow/tfjs-backend-wasm";
import { digest } from "../check.js";
import { type Drawn, type Filled, integers, numbers } from "../inputs.js";
import { type Check, type Job, serve } from "../protocol.js";
import type { DecoderSpec } from "../rows/decoder.js";
import type { MlpSpec } from "../rows/mlp.js";

const require = createRequire(import.meta.url);
setWasmPaths(`${dirname(require.resolve("@tensorflow/tfjs-backend-wasm/package.json"))}/wasm-out/`);
await tf.setBackend("wasm");
await tf.ready();

const fill = (f: Filled): tf.Tensor => tf.tensor(numbers(f), f.shape);
const draw = (d: Drawn): tf.Tensor => tf.tensor(integers(d), d.shape, "int32");

type Parts = { y: tf.Tensor; [part: string]: tf.Tensor };

/** Runs `make()` and reads the last number of y. Kernels of this backend are done when they return. */
function parts(make: () => Parts): Job {
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
      for (const [part, t] of Object.entries(made!)) check[part] = digest(await t.data())["elements"]!;
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
): Job {
  const xs = Object.values(inputs);
  if (!dy) return single(() => f(...xs));
  const both = tf.valueAndGrads(f);
  return parts(() => {
    const { value, grads } = both(xs, dy);
    return { y: value, ...Object.fromEntries(Object.keys(inputs).map((name, i) => [`d${name}`, grads[i]!])) };
  });
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
  const hidden = tf.mul(tf.sub(1, tf.linalg.bandPart(tf.ones([length, length]), -1, 0)), -1e9);

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

await serve({
  lib: "tfjs-wasm",
  details: `@tensorflow/tfjs ${tf.version_core}, wasm SIMD, Node ${process.versions.node}`,
  threads: 1, // in Node it never takes more
  jobs: {
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
  },
});
