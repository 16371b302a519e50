import {
  blockUntilReady,
  defaultDevice,
  grad,
  init,
  jit,
  nn,
  numpy as np,
  tree,
  valueAndGrad,
} from "@jax-js/jax";
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

// In this library every call takes its arguments over; `.ref` keeps one for later.
type Arr = np.Array;

await init("wasm");
defaultDevice("wasm");

const array = (data: Float32Array | Int32Array, shape: number[]): Arr =>
  np.array(data as Float32Array<ArrayBuffer>, { shape });

async function ends(y: Arr): Promise<number[]> {
  const data = await y.data();
  return [data[0]!, data[data.length >> 1]!, data[data.length - 1]!] as number[];
}

function single(make: () => Arr): Job {
  return {
    async run() {
      const y = make();
      await blockUntilReady(y);
      y.dispose();
    },
    check: () => ends(make()),
  };
}

function mlp(): Job {
  const start: Arr[] = [];
  for (let i = 0; i < 3; i++) {
    const [from, to] = [MLP.sizes[i]!, MLP.sizes[i + 1]!];
    start.push(array(numbers(from * to, 100 * (i + 1), 2 / Math.sqrt(from)), [to, from]), np.zeros([to]));
  }
  const x = array(numbers(MLP.batch * 784, 7), [MLP.batch, 784]);
  const y = nn.oneHot(array(integers(MLP.batch, 3, 10), [MLP.batch]), 10);
  const loss = (p: Arr[], input: Arr, target: Arr): Arr => {
    let h = input;
    for (let i = 0; i < 3; i++) {
      h = np.matmul(h, np.transpose(p[2 * i]!)).add(p[2 * i + 1]!);
      if (i < 2) h = nn.relu(h);
    }
    return nn.logsumexp(h.ref, 1).sub(h.mul(target).sum(1)).mean();
  };
  const [b1, b2, lr] = [0.9, 0.999, 1e-3];
  const update = jit((p: Arr[], m: Arr[], v: Arr[], input: Arr, target: Arr, c1: Arr, c2: Arr): Arr[][] => {
    const [value, grads] = valueAndGrad(loss)(tree.ref(p), input, target) as [Arr, Arr[]];
    const out: Arr[][] = [[value], [], [], []];
    for (const [i, g] of grads.entries()) {
      const nextM = m[i]!.mul(b1).add(g.ref.mul(1 - b1));
      const nextV = v[i]!.mul(b2).add(g.ref.mul(g).mul(1 - b2));
      const moved = nextM.ref
        .mul(c1.ref)
        .div(np.sqrt(nextV.ref.mul(c2.ref)).add(1e-8))
        .mul(lr);
      out[1]!.push(p[i]!.sub(moved));
      out[2]!.push(nextM);
      out[3]!.push(nextV);
    }
    c1.dispose();
    c2.dispose();
    return out;
  });
  let state = [start, start.map((p) => np.zerosLike(p.ref)), start.map((p) => np.zerosLike(p.ref))];
  let t = 0;
  const step = async (): Promise<number> => {
    t++;
    const [c1, c2] = [np.array(1 / (1 - b1 ** t)), np.array(1 / (1 - b2 ** t))];
    const out = update(state[0]!, state[1]!, state[2]!, x.ref, y.ref, c1, c2) as Arr[][];
    state = out.slice(1);
    await blockUntilReady(state);
    return (await out[0]![0]!.data())[0] as number;
  };
  return {
    run: async () => void (await step()),
    check: async () => [await step(), await step(), await step()],
  };
}

function decoder(): Job {
  const { layers, width, heads, vocabulary, batch, length } = DECODER;
  const size = width / heads;
  const params: Record<string, Arr> = {};
  for (const [i, [name, shape]] of decoderShapes().entries())
    params[name] = array(decoderValue(i, shape), shape);
  const ids = array(integers(batch * length, 11, vocabulary), [batch, length]);
  const raw = integers(batch * length, 11, vocabulary);
  const next = new Int32Array(batch * (length - 1));
  for (let b = 0; b < batch; b++) next.set(raw.subarray(b * length + 1, (b + 1) * length), b * (length - 1));
  const targets = array(next, [batch * (length - 1)]);
  const angles = new Float32Array((length * size) / 2);
  for (let p = 0; p < length; p++)
    for (let i = 0; i < size / 2; i++) angles[(p * size) / 2 + i] = p * 10000 ** ((-2 * i) / size);
  const angle = array(angles, [1, length, 1, size / 2]);
  const [cos, sin] = [np.cos(angle.ref), np.sin(angle)];
  const norm = (x: Arr, w: Arr): Arr =>
    x.ref.mul(np.reciprocal(np.sqrt(x.ref.mul(x).mean(-1, { keepdims: true }).add(1e-5)))).mul(w);
  const rope = (x: Arr): Arr => {
    const [a, b] = np.split(x, 2, -1) as [Arr, Arr];
    const first = a.ref.mul(cos.ref).sub(b.ref.mul(sin.ref));
    return np.concatenate([first, b.mul(cos.ref).add(a.mul(sin.ref))], -1);
  };
  const linear = (x: Arr, w: Arr): Arr => np.matmul(x, np.transpose(w));
  const loss = (p: Record<string, Arr>, embedded: Arr, wanted: Arr): Arr => {
    let h = embedded;
    for (let l = 0; l < layers; l++) {
      const w = (name: string): Arr => p[`model.layers.${l}.${name}.weight`]!;
      const x = norm(h.ref, w("input_layernorm"));
      const part = (name: string, keep: Arr): Arr =>
        linear(keep, w(`self_attn.${name}_proj`)).reshape([batch, length, heads, size]);
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
  // `take` has no gradient under jit here, so the embedding and its gradient stay outside of it.
  const table = params["model.embed_tokens.weight"]!;
  delete params["model.embed_tokens.weight"];
  const flat = ids.reshape([batch * length]);
  const step = jit(valueAndGrad(loss, { argnums: [0, 1] }));
  const scatter = grad((t: Arr, tokens: Arr, dy: Arr) => np.take(t, tokens, 0).mul(dy).sum());
  const once = async (): Promise<[Arr, Record<string, Arr>]> => {
    const embedded = np.take(table.ref, flat.ref, 0);
    const [value, [grads, dy]] = step(tree.ref(params), embedded, targets.ref) as unknown as [
      Arr,
      [Record<string, Arr>, Arr],
    ];
    grads["model.embed_tokens.weight"] = scatter(table.ref, flat.ref, dy) as Arr;
    await blockUntilReady([value, grads]);
    return [value, grads];
  };
  return {
    run: async () => tree.dispose(await once()),
    async check() {
      const [value, grads] = await once();
      const out = [(await value.data())[0] as number];
      for (const name of ["model.embed_tokens.weight", "model.layers.1.mlp.down_proj.weight"]) {
        const g = grads[name]!;
        out.push(Math.sqrt(((await g.ref.mul(g).sum().data()) as Float32Array)[0]!));
        delete grads[name];
      }
      tree.dispose(grads);
      return out;
    },
  };
}

await serve({
  lib: "jax-js",
  details: `@jax-js/jax 0.1.25, wasm, Node ${process.versions.node}`,
  prepare(row) {
    if (Number(process.env["BENCH_THREADS"] ?? 1) > 1) return "one thread only in Node";
    const product = matmulRow(row);
    if (product) {
      const { n, transposeA, transposeB } = product;
      const [a, b] = [array(numbers(n * n, 1), [n, n]), array(numbers(n * n, 2), [n, n])];
      const f = jit((x: Arr, y: Arr) =>
        np.matmul(transposeA ? np.transpose(x) : x, transposeB ? np.transpose(y) : y),
      );
      return single(() => f(a.ref, b.ref) as Arr);
    }
    switch (row) {
      case "chain": {
        const [x, y, z] = [1, 2, 3].map((seed) => array(numbers(CHAIN, seed, 4), [CHAIN]));
        const f = jit((a: Arr, b: Arr, c: Arr) => nn.gelu(a.mul(b).add(c), { approximate: false }));
        return single(() => f(x!.ref, y!.ref, z!.ref) as Arr);
      }
      case "softmax": {
        const x = array(numbers(ROWS.rows * ROWS.width, 1, 8), [ROWS.rows, ROWS.width]);
        const f = jit((a: Arr) => nn.softmax(a, -1));
        return single(() => f(x.ref) as Arr);
      }
      case "layernorm": {
        const x = array(numbers(ROWS.rows * ROWS.width, 1, 8), [ROWS.rows, ROWS.width]);
        const [w, b] = [2, 3].map((seed) => array(numbers(ROWS.width, seed, 2), [ROWS.width]));
        const f = jit((a: Arr, u: Arr, v: Arr) => nn.standardize(a, -1, { epsilon: 1e-5 }).mul(u).add(v));
        return single(() => f(x.ref, w!.ref, b!.ref) as Arr);
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
