// Times fused loops: median of some runs, and the bytes of memory that they read and write per second.
//
//   node scripts/bench-loop.mjs [runs] [threads] [part of a name]

import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import { tsImport } from "tsx/esm/api";
import { buildWasm } from "./build-wasm.mjs";

const root = dirname(dirname(fileURLToPath(import.meta.url)));
const options = { parentURL: import.meta.url, tsconfig: join(root, "tsconfig.json") };

await buildWasm();
const runs = Number(process.argv[2] ?? 9);
const threads = Number(process.argv[3] ?? 1);
const part = process.argv[4] ?? "";
const t = await tsImport("@lowrank/tensor", options);
const { wasm } = await tsImport("../src/index.ts", options);
const backend = await wasm({ threads, profile: true });
t.setDefaultBackend(backend);

const numbers = (n, scale = 2) => {
  const data = new Float32Array(n);
  let seed = 12345;
  for (let i = 0; i < n; i++) {
    seed = (Math.imul(seed, 1664525) + 1013904223) | 0;
    data[i] = (seed / 2 ** 31) * scale;
  }
  return data;
};
const param = (dims, scale) =>
  t.parameter(
    t.fromHost(
      "f32",
      dims,
      numbers(
        dims.reduce((a, b) => a * b, 1),
        scale,
      ),
    ),
  );

/** name, bytes per run, and a function that makes the roots to evaluate. */
const cases = {
  "gelu(x*y+z), 16.8 M"() {
    const [x, y, z] = [param([1 << 24]), param([1 << 24]), param([1 << 24])];
    const out = param([1 << 24]);
    return [4 * 4 * 2 ** 24, () => [out.assign(t.gelu(x.mul(y).add(z)))]];
  },
  "geluTanh(x), 4.2 M"() {
    const [x, out] = [param([1 << 22]), param([1 << 22])];
    return [2 * 4 * 2 ** 22, () => [out.assign(t.geluTanh(x))]];
  },
  "x + y, 16.8 M"() {
    const [x, y, out] = [param([1 << 24]), param([1 << 24]), param([1 << 24])];
    return [3 * 4 * 2 ** 24, () => [out.assign(x.add(y))]];
  },
  "Adam, 4.2 M"() {
    const n = 1 << 22;
    const [p, g, m, v] = [param([n]), param([n]), param([n], 0.1), t.parameter(t.abs(param([n], 0.1)))];
    const step = t.scalar ? 0.1 : 0.1;
    return [
      7 * 4 * n,
      () => {
        const m1 = m.mul(0.9).add(g.mul(0.1));
        const v1 = v.mul(0.999).add(g.mul(g).mul(0.001));
        const update = m1.mul(1.2).div(t.sqrt(v1.mul(3.3)).add(1e-8));
        return [m.assign(m1), v.assign(v1), p.assign(p.sub(update.add(p.mul(0.01)).mul(step * 0.01)))];
      },
    ];
  },
  "sum over rows [4096, 1024]"() {
    const [x, out] = [param([4096, 1024]), param([4096])];
    return [4 * 2 ** 22, () => [out.assign(t.sum(x, [1]))]];
  },
  "sum over columns [4096, 1024]"() {
    const [x, out] = [param([4096, 1024]), param([1024])];
    return [4 * 2 ** 22, () => [out.assign(t.sum(x, [0]))]];
  },
  "max over rows [4096, 1024]"() {
    const [x, out] = [param([4096, 1024]), param([4096])];
    return [4 * 2 ** 22, () => [out.assign(t.max(x, [1]))]];
  },
  "sum over middle [64, 64, 1024]"() {
    const [x, out] = [param([64, 64, 1024]), param([64, 1024])];
    return [4 * 2 ** 22, () => [out.assign(t.sum(x, [1]))]];
  },
  "sum of all, 16.8 M"() {
    const [x, out] = [param([1 << 24]), param([])];
    return [4 * 2 ** 24, () => [out.assign(t.sum(x))]];
  },
  "short rows: sum [1 M, 4]"() {
    const [x, out] = [param([1 << 20, 4]), param([1 << 20])];
    return [5 * 4 * 2 ** 20, () => [out.assign(t.sum(x, [1]))]];
  },
  "short columns: sum [1 M, 4]"() {
    const [x, out] = [param([1 << 20, 4]), param([4])];
    return [4 * 4 * 2 ** 20, () => [out.assign(t.sum(x, [0]))]];
  },
  "bias: x + b [4096, 1024]"() {
    const [x, b, out] = [param([4096, 1024]), param([1024]), param([4096, 1024])];
    return [8 * 2 ** 22, () => [out.assign(x.add(b))]];
  },
  "bias, short rows [65536, 64]"() {
    const [x, b, out] = [param([65536, 64]), param([64]), param([65536, 64])];
    return [8 * 2 ** 22, () => [out.assign(x.add(b))]];
  },
  "row scale [4096, 1024]"() {
    const [x, b, out] = [param([4096, 1024]), param([4096, 1]), param([4096, 1024])];
    return [8 * 2 ** 22, () => [out.assign(x.mul(t.exp(b)))]];
  },
  "transpose [2048, 2048]"() {
    const [x, out] = [param([2048, 2048]), param([2048, 2048])];
    return [8 * 2 ** 22, () => [out.assign(t.transpose(x))]];
  },
  "permute [8, 128, 8, 64] to [8, 8, 128, 64]"() {
    const [x, out] = [param([32, 128, 8, 64]), param([32, 8, 128, 64])];
    return [8 * 2 ** 21, () => [out.assign(t.permute(x, [0, 2, 1, 3]))]];
  },
  "cast f32 to f16 and back, 4.2 M"() {
    const [x, out] = [param([1 << 22]), param([1 << 22])];
    return [8 * 2 ** 22, () => [out.assign(x.astype("f16").astype("f32"))]];
  },
  "f16 + f16, 4.2 M"() {
    const [x, y] = [param([1 << 22]).astype("f16"), param([1 << 22]).astype("f16")].map((a) =>
      t.parameter(a),
    );
    const out = t.parameter(param([1 << 22]).astype("f16"));
    return [6 * 2 ** 22, () => [out.assign(x.add(y))]];
  },
  "x * transposed y, sum over rows [2048, 2048]"() {
    const [x, y, out] = [param([2048, 2048]), param([2048, 2048]), param([2048])];
    return [8 * 2 ** 22, () => [out.assign(t.sum(x.mul(t.transpose(y)), [1]))]];
  },
  "x * transposed y, sum over columns [2048, 2048]"() {
    const [x, y, out] = [param([2048, 2048]), param([2048, 2048]), param([2048])];
    return [8 * 2 ** 22, () => [out.assign(t.sum(x.mul(t.transpose(y)), [0]))]];
  },
  "x * transposed y, sum of all [2048, 2048]"() {
    const [x, y, out] = [param([2048, 2048]), param([2048, 2048]), param([])];
    return [8 * 2 ** 22, () => [out.assign(t.sum(x.mul(t.transpose(y))))]];
  },
  "f64: sqrt(abs(x * y + x)), where, 1 M"() {
    const [x, y, out] = [param([1 << 20]), param([1 << 20]), param([1 << 20])].map((p) =>
      t.parameter(p.astype("f64")),
    );
    return [
      24 * 2 ** 20,
      () => [out.assign(t.where(t.lt(x, y), t.sqrt(t.abs(x.mul(y).add(x))), t.div(x, 3)))],
    ];
  },
  "f64: sum over rows and over columns [1024, 1024]"() {
    const [x, a, b] = [param([1024, 1024]), param([1024]), param([1024])].map((p) =>
      t.parameter(p.astype("f64")),
    );
    return [16 * 2 ** 20, () => [a.assign(t.sum(x, [1])), b.assign(t.sum(x, [0]))]];
  },
  "200 small Adam steps of 64"() {
    const all = Array.from({ length: 200 }, () => [
      param([64]),
      param([64]),
      param([64], 0.1),
      param([64], 0.1),
    ]);
    return [
      200 * 7 * 4 * 64,
      () =>
        all.flatMap(([p, g, m, v]) => {
          const m1 = m.mul(0.9).add(g.mul(0.1));
          const v1 = v.mul(0.999).add(g.mul(g).mul(0.001));
          return [m.assign(m1), v.assign(v1), p.assign(p.sub(m1.div(t.sqrt(v1).add(1e-8)).mul(0.01)))];
        }),
    ];
  },
  "silu(a) * b, backward too, 2.1 M"() {
    const [a, b, da, db] = Array.from({ length: 4 }, () => param([1024, 2048]));
    return [
      6 * 4 * 2 ** 21,
      () => {
        const [ga, gb] = t.gradients(t.silu(a).mul(b), [a, b], da);
        return [da.assign(ga), db.assign(gb)];
      },
    ];
  },
  "uniform, 4.2 M"() {
    const out = param([1 << 22]);
    return [4 * 2 ** 22, () => [out.assign(t.uniform([1 << 22], { key: t.key(7) }))]];
  },
  "normal, 4.2 M"() {
    const out = param([1 << 22]);
    return [4 * 2 ** 22, () => [out.assign(t.normal([1 << 22], { key: t.key(7) }))]];
  },
};
const ROWS = [4096, 1024];
/** y and the gradients of `parameters`, by whose sizes they are kept, for a gradient of y. */
const backward = (f, dims) => {
  const parameters = dims.map((d) => param(d));
  const grads = dims.map((d) => param(d));
  const dy = param(f(...parameters).shape);
  const bytes = 4 * 2 ** 22 * 6;
  return [
    bytes,
    () => {
      const found = t.gradients(f(...parameters), parameters, dy);
      return grads.map((to, i) => to.assign(found[i]));
    },
  ];
};
const labels = t.fromHost(
  "i32",
  [ROWS[0]],
  Int32Array.from({ length: ROWS[0] }, (_, i) => (i * 37) % ROWS[1]),
);
Object.assign(cases, {
  "rows: softmax"() {
    const [x, out] = [param(ROWS), param(ROWS)];
    return [8 * 2 ** 22, () => [out.assign(t.softmax(x))]];
  },
  "rows: layer norm"() {
    const [x, w, b, out] = [param(ROWS), param([1024]), param([1024]), param(ROWS)];
    return [8 * 2 ** 22, () => [out.assign(t.layerNorm(x, w, b))]];
  },
  "rows: RMS norm"() {
    const [x, w, out] = [param(ROWS), param([1024]), param(ROWS)];
    return [8 * 2 ** 22, () => [out.assign(t.rmsNorm(x, w))]];
  },
  "rows: cross-entropy"() {
    const [x, out] = [param(ROWS), param([])];
    return [4 * 2 ** 22, () => [out.assign(t.crossEntropy(x, labels))]];
  },
  "rows: softmax, backward too": () => backward((x) => t.softmax(x), [ROWS]),
  "rows: layer norm, backward too": () => backward(t.layerNorm, [ROWS, [1024], [1024]]),
  "rows: RMS norm, backward too": () => backward(t.rmsNorm, [ROWS, [1024]]),
  "rows: cross-entropy, backward too": () => backward((x) => t.crossEntropy(x, labels), [ROWS]),
});
for (const name of [
  "exp",
  "expm1",
  "log",
  "log1p",
  "sin",
  "tan",
  "tanh",
  "sigmoid",
  "erf",
  "erfinv",
  "sqrt",
  "rsqrt",
  "floor",
  "abs",
  "atan",
  "sinh",
]) {
  cases[`${name}, 1 M`] = () => {
    const [x, out] = [param([1 << 20], name === "erfinv" ? 1 : 3), param([1 << 20])];
    return [8 * 2 ** 20, () => [out.assign(t[name](x))]];
  };
}
cases["pow, 1 M"] = () => {
  const [x, y, out] = [t.parameter(t.abs(param([1 << 20]))), param([1 << 20]), param([1 << 20])];
  return [12 * 2 ** 20, () => [out.assign(t.pow(x, y))]];
};

for (const [name, make] of Object.entries(cases)) {
  if (!name.includes(part)) continue;
  const [bytes, build] = make();
  const times = [];
  for (let i = 0; i < runs + 2; i++) {
    const roots = build();
    await t.evaluate(...roots);
    const ms = backend.profile().reduce((sum, row) => sum + row.ms, 0);
    if (i >= 2) times.push(ms);
  }
  times.sort((a, b) => a - b);
  const median = times[times.length >> 1];
  const rate = `${(bytes / median / 1e6).toFixed(1)} GB/s`;
  console.log(
    `${name.padEnd(44)}${median.toFixed(2).padStart(9)} ms   best ${times[0].toFixed(2).padStart(7)}   ${rate}`,
  );
}
backend.dispose();
