import { createRequire } from "node:module";
import { dirname } from "node:path";
import { setThreadsCount, setWasmPaths } from "@tensorflow/tfjs-backend-wasm";
import * as tf from "@tensorflow/tfjs";
import { CHAIN, integers, MLP, matmulRow, numbers, ROWS } from "../inputs.js";
import { type Job, serve } from "../protocol.js";

const require = createRequire(import.meta.url);
setWasmPaths(`${dirname(require.resolve("@tensorflow/tfjs-backend-wasm/package.json"))}/wasm-out/`);
const threads = Number(process.env["BENCH_THREADS"] ?? 1);
setThreadsCount(threads);
await tf.setBackend("wasm");
await tf.ready();

function single(make: () => tf.Tensor): Job {
  return {
    async run() {
      make().dispose(); // kernels of this backend are done when they return
    },
    async check() {
      const y = make();
      const data = await y.data();
      y.dispose();
      return [data[0]!, data[data.length >> 1]!, data[data.length - 1]!];
    },
  };
}

function mlp(): Job {
  const weights: tf.Variable[] = [];
  for (let i = 0; i < 3; i++) {
    const [from, to] = [MLP.sizes[i]!, MLP.sizes[i + 1]!];
    const w = tf.tensor2d(numbers(from * to, 100 * (i + 1), 2 / Math.sqrt(from)), [to, from]);
    weights.push(tf.variable(w), tf.variable(tf.zeros([to])));
  }
  const x = tf.tensor2d(numbers(MLP.batch * 784, 7), [MLP.batch, 784]);
  const y = tf.cast(
    tf.oneHot(tf.tensor1d(integers(MLP.batch, 3, 10), "int32"), 10),
    "float32",
  ) as tf.Tensor2D;
  const optimizer = tf.train.adam(1e-3, 0.9, 0.999, 1e-8);
  const step = async (): Promise<number> => {
    const loss = optimizer.minimize(
      () => {
        let h: tf.Tensor = x;
        for (let i = 0; i < 3; i++) {
          h = tf.add(tf.matMul(h, weights[2 * i]!, false, true), weights[2 * i + 1]!);
          if (i < 2) h = tf.relu(h);
        }
        return tf.losses.softmaxCrossEntropy(y, h) as tf.Scalar;
      },
      true,
      weights,
    )!;
    const value = (await loss.data())[0]!;
    loss.dispose();
    return value;
  };
  return {
    run: async () => void (await step()),
    check: async () => [await step(), await step(), await step()],
  };
}

await serve({
  lib: "tfjs-wasm",
  details: `@tensorflow/tfjs 4.22.0, wasm SIMD, Node ${process.versions.node}`,
  prepare(row) {
    if (threads > 1) return "one thread only in Node";
    const product = matmulRow(row);
    if (product) {
      const { n, transposeA, transposeB } = product;
      const [a, b] = [tf.tensor2d(numbers(n * n, 1), [n, n]), tf.tensor2d(numbers(n * n, 2), [n, n])];
      return single(() => tf.matMul(a, b, transposeA, transposeB));
    }
    switch (row) {
      case "chain": {
        const [x, y, z] = [1, 2, 3].map((seed) => tf.tensor1d(numbers(CHAIN, seed, 4)));
        return single(() =>
          tf.tidy(() => {
            const t = tf.add(tf.mul(x!, y!), z!);
            return tf.mul(tf.mul(t, 0.5), tf.add(tf.erf(tf.mul(t, Math.SQRT1_2)), 1));
          }),
        );
      }
      case "softmax": {
        const x = tf.tensor2d(numbers(ROWS.rows * ROWS.width, 1, 8), [ROWS.rows, ROWS.width]);
        return single(() => tf.softmax(x));
      }
      case "layernorm": {
        const x = tf.tensor2d(numbers(ROWS.rows * ROWS.width, 1, 8), [ROWS.rows, ROWS.width]);
        const [w, b] = [2, 3].map((seed) => tf.tensor1d(numbers(ROWS.width, seed, 2)));
        return single(() =>
          tf.tidy(() => {
            const centred = tf.sub(x, tf.mean(x, -1, true));
            const scale = tf.rsqrt(tf.add(tf.mean(tf.square(centred), -1, true), 1e-5));
            return tf.add(tf.mul(tf.mul(centred, scale), w!), b!);
          }),
        );
      }
      case "mlp":
        return mlp();
      case "decoder":
        return "the wasm backend lacks gradient kernels that a decoder needs (UnsortedSegmentSum of the embedding)";
      default:
        return `no row ${row}`;
    }
  },
});
