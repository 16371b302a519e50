import { blockUntilReady, defaultDevice, jit, nn, numpy as np, tree, valueAndGrad, vjp } from "@jax-js/jax";
import { digest } from "../check.js";
import { type Drawn, type Filled, integers, numbers } from "../inputs.js";
import type { Check, Job, Jobs } from "../protocol.js";
import { decomposition } from "./jax-js-decompositions.js";
import type { DecoderSpec } from "../rows/decoder.js";
import type { MlpSpec } from "../rows/mlp.js";

// In this library every call takes its arguments over; `.ref` keeps one for later.
type Arr = np.Array;

const fill = (f: Filled): Arr => np.array(numbers(f), { shape: f.shape });
const draw = (d: Drawn): Arr => np.array(integers(d), { shape: d.shape });
const number = async (x: Arr): Promise<number> => (await x.data())[0] as number;

/**
 * Waits for the results of a jit. On webgpu the read of one of them submits and awaits all that the jit launches, and
 * here a copy and a mapping for each array would be added.
 */
const finished = async (results: Parameters<typeof blockUntilReady>[0]): Promise<void> => {
  if (defaultDevice() !== "webgpu") await blockUntilReady(results);
};

type Parts = { y: Arr; [part: string]: Arr };

/** Compiles f together with a read of the last number of y, and evaluates all. */
function parts(pick: () => Arr[], f: (...inputs: Arr[]) => Parts): Job {
  const compiled = jit((...xs: Arr[]): [Parts, Arr] => {
    const made = f(...xs);
    return [made, made.y.ref.slice(...made.y.shape.map(() => -1))];
  });
  let made: Parts | null = null;
  return {
    async run() {
      if (made) tree.dispose(made);
      const [all, last] = compiled(...pick().map((x) => x.ref)) as unknown as [Parts, Arr];
      made = all;
      await finished(made);
      await last.data();
    },
    async check() {
      const check: Check = {};
      for (const [part, x] of Object.entries(made!))
        check[part] = digest((await x.ref.data()) as Float32Array)["elements"]!;
      return check;
    },
  };
}

const single = (inputs: Arr[], f: (...inputs: Arr[]) => Arr): Job =>
  parts(
    () => inputs,
    (...xs) => ({ y: f(...xs) }),
  );

/** y = f(inputs), and where `dy` arrives at it the gradients for the inputs, by their names. */
function differentiated(f: (...inputs: Arr[]) => Arr, inputs: Record<string, Arr>, dy: Arr | null): Job {
  const xs = Object.values(inputs);
  if (!dy) return single(xs, f);
  const all = [...xs, dy];
  return parts(
    () => all,
    (...given) => {
      const [y, back] = vjp(f, given.slice(0, -1));
      const grads = back(given.at(-1)!) as Arr[];
      back.dispose();
      return { y, ...Object.fromEntries(Object.keys(inputs).map((name, i) => [`d${name}`, grads[i]!])) };
    },
  );
}

function mlp({ weights, x, labels, lr, beta1, beta2, eps }: MlpSpec): Job {
  const start = weights.flatMap((f) => [fill(f), np.zeros([f.shape[0]!])]);
  const input = fill(x);
  const target = nn.oneHot(draw(labels), labels.below);
  const loss = (p: Arr[], batch: Arr, wanted: Arr): Arr => {
    let h = batch;
    for (let i = 0; i < p.length; i += 2) {
      h = np.matmul(h, np.transpose(p[i]!)).add(p[i + 1]!);
      if (i + 2 < p.length) h = nn.relu(h);
    }
    return nn.logSoftmax(h, 1).mul(wanted).sum(1).mean().neg();
  };
  const update = jit(
    (p: Arr[], m: Arr[], v: Arr[], batch: Arr, wanted: Arr, c1: Arr, c2: Arr): [Arr, Arr[], Arr[], Arr[]] => {
      const [value, grads] = valueAndGrad(loss)(tree.ref(p), batch, wanted) as [Arr, Arr[]];
      const [nextP, nextM, nextV]: [Arr[], Arr[], Arr[]] = [[], [], []];
      for (const [i, g] of grads.entries()) {
        const mean = m[i]!.mul(beta1).add(g.ref.mul(1 - beta1));
        const square = v[i]!.mul(beta2).add(g.ref.mul(g).mul(1 - beta2));
        const moved = mean.ref
          .mul(c1.ref)
          .div(np.sqrt(square.ref.mul(c2.ref)).add(eps))
          .mul(lr);
        nextP.push(p[i]!.sub(moved));
        nextM.push(mean);
        nextV.push(square);
      }
      c1.dispose();
      c2.dispose();
      return [value, nextP, nextM, nextV];
    },
  );
  let [p, m, v] = [start, start.map((w) => np.zerosLike(w.ref)), start.map((w) => np.zerosLike(w.ref))];
  let step = 0;
  const losses: number[] = [];
  const run = async (): Promise<void> => {
    step++;
    const [c1, c2] = [np.array(1 / (1 - beta1 ** step)), np.array(1 / (1 - beta2 ** step))];
    const [value, ...next] = update(p, m, v, input.ref, target.ref, c1, c2) as unknown as [
      Arr,
      Arr[],
      Arr[],
      Arr[],
    ];
    [p, m, v] = next;
    await finished(next);
    const got = await number(value);
    if (losses.length < 5) losses.push(got);
  };
  return {
    run,
    async check() {
      while (losses.length < 5) await run();
      return Object.fromEntries(losses.map((l, i) => [`loss ${i}`, [l]]));
    },
  };
}

/** cos and sin of the rotary angles, [1, length, 1, size / 2]. */
function rotary(length: number, size: number, theta: number): [Arr, Arr] {
  const angles = new Float32Array((length * size) / 2);
  for (let i = 0; i < angles.length; i++) {
    const [position, pair] = [Math.floor(i / (size / 2)), i % (size / 2)];
    angles[i] = position * theta ** ((-2 * pair) / size);
  }
  const angle = np.array(angles, { shape: [1, length, 1, size / 2] });
  return [np.cos(angle.ref), np.sin(angle)];
}

function decoder(spec: DecoderSpec): Job {
  const { layers, width, heads, vocabulary, batch, length, eps, theta } = spec;
  const size = width / heads;
  const params = Object.fromEntries(Object.entries(spec.weights).map(([name, f]) => [name, fill(f)]));
  const raw = integers(spec.ids);
  const next = new Int32Array(batch * (length - 1));
  for (let b = 0; b < batch; b++) next.set(raw.subarray(b * length + 1, (b + 1) * length), b * (length - 1));
  const [ids, targets] = [np.array(raw), np.array(next)];
  const [cos, sin] = rotary(length, size, theta);

  const norm = (x: Arr, w: Arr): Arr =>
    x.ref.mul(np.reciprocal(np.sqrt(x.ref.mul(x).mean(-1, { keepdims: true }).add(eps)))).mul(w);
  const rope = (x: Arr): Arr => {
    const [a, b] = np.split(x, 2, -1) as [Arr, Arr];
    const first = a.ref.mul(cos.ref).sub(b.ref.mul(sin.ref));
    return np.concatenate([first, b.mul(cos.ref).add(a.mul(sin.ref))], -1);
  };
  const linear = (x: Arr, w: Arr): Arr => np.matmul(x, np.transpose(w));
  const loss = (p: Record<string, Arr>, tokens: Arr, wanted: Arr): Arr => {
    // One id a row: the scatter of its gradient takes no reshaped input inside jit.
    let h = np.take(p["model.embed_tokens.weight"]!, tokens, 0);
    for (let l = 0; l < layers; l++) {
      const w = (name: string): Arr => p[`model.layers.${l}.${name}.weight`]!;
      const x = norm(h.ref, w("input_layernorm"));
      const part = (name: string, input: Arr): Arr =>
        linear(input, w(`self_attn.${name}_proj`)).reshape([batch, length, heads, size]);
      const [q, k, v] = [part("q", x.ref), part("k", x.ref), part("v", x)];
      const o = nn
        .dotProductAttention(rope(q), rope(k), v, { isCausal: true })
        .reshape([batch * length, width]);
      h = h.add(linear(o, w("self_attn.o_proj")));
      const y = norm(h.ref, w("post_attention_layernorm"));
      const inner = nn.silu(linear(y.ref, w("mlp.gate_proj"))).mul(linear(y, w("mlp.up_proj")));
      h = h.add(linear(inner, w("mlp.down_proj")));
    }
    const states = norm(h, p["model.norm.weight"]!).reshape([batch, length, width]);
    const [kept, last] = np.split(states, [length - 1], 1) as [Arr, Arr];
    last.dispose();
    const logits = linear(kept.reshape([batch * (length - 1), width]), p["lm_head.weight"]!);
    const picked = logits.ref.mul(nn.oneHot(wanted, vocabulary)).sum(1);
    return nn.logsumexp(logits, 1).sub(picked).mean();
  };
  const gradients = jit(valueAndGrad(loss));
  const once = async (): Promise<[Arr, Record<string, Arr>]> => {
    const out = gradients(tree.ref(params), ids.ref, targets.ref) as unknown as [Arr, Record<string, Arr>];
    await finished(out);
    return out;
  };
  return {
    async run() {
      const [value, grads] = await once();
      await value.data();
      tree.dispose(grads);
    },
    async check() {
      const [value, grads] = await once();
      const check: Check = { loss: [await number(value)] };
      for (const [name, g] of Object.entries(grads))
        check[name] = digest((await g.data()) as Float32Array)["elements"]!;
      return check;
    },
  };
}

/** Rows in this library, on the default device. */
export const jaxJobs: Jobs = {
  decomposition,
  matmul: ({ a, b, transposeA, transposeB }) =>
    single([fill(a), fill(b)], (x, y) =>
      np.matmul(transposeA ? np.transpose(x!) : x!, transposeB ? np.transpose(y!) : y!),
    ),
  chain: ({ x, y, z }) =>
    single([fill(x), fill(y), fill(z)], (a, b, c) => nn.gelu(a!.mul(b!).add(c!), { approximate: false })),
  rank: ({ x, a, b, dy }) =>
    differentiated(
      (p, q, r) => np.matmul(np.matmul(p!, q!), r!),
      { x: fill(x), a: fill(a), b: fill(b) },
      dy && fill(dy),
    ),
  softmax: ({ x, dy }) => differentiated((a) => nn.softmax(a!, -1), { x: fill(x) }, dy && fill(dy)),
  layernorm: ({ x, weight, bias, eps, dy }) =>
    differentiated(
      (a, w, b) => nn.standardize(a!, -1, { epsilon: eps }).mul(w!).add(b!),
      { x: fill(x), weight: fill(weight), bias: fill(bias) },
      dy && fill(dy),
    ),
  attention({ causal, ...spec }) {
    const inputs = { q: fill(spec.q), k: fill(spec.k), v: fill(spec.v) };
    const dy = spec.dy && fill(spec.dy);
    return differentiated((q, k, v) => nn.dotProductAttention(q!, k!, v!, { isCausal: causal }), inputs, dy);
  },
  mlp,
  decoder,
  async matvec({ weights, x, copies }) {
    if (!("values" in weights)) return `it has no ${weights.dtype} weights`;
    const dtype = weights.dtype === "f32" ? np.float32 : np.float16;
    const [input, first] = [fill(x).astype(dtype), fill(weights.values).astype(dtype)];
    const ws = Array.from({ length: copies }, () => first.ref.add(np.zerosLike(first.ref)));
    await blockUntilReady(ws);
    let turn = 0;
    return parts(
      () => [input, ws[turn++ % copies]!],
      (a, w) => ({ y: np.matmul(a!, np.transpose(w!)) }),
    );
  },
};
