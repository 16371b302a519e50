import * as activation from "../../ops/activation.js";
import * as arithmetic from "../../ops/arithmetic.js";
import { attention } from "../../ops/attention.js";
import { concat } from "../../ops/concat.js";
import { conv2d } from "../../ops/conv.js";
import { eye, iota } from "../../ops/create.js";
import { crossEntropy } from "../../ops/cross-entropy.js";
import { oneHot, scatterAdd, take, takeAlongAxis } from "../../ops/gather.js";
import * as logic from "../../ops/logic.js";
import * as math from "../../ops/math.js";
import { layerNorm, rmsNorm } from "../../ops/norm.js";
import { avgPool2d, maxPool2d } from "../../ops/pool.js";
import { bernoulli, dropout, key, normal, uniform } from "../../ops/random.js";
import * as reduce from "../../ops/reduce.js";
import { inverseFrequencies, rope } from "../../ops/rope.js";
import { cumsum } from "../../ops/scan.js";
import { logSoftmax, softmax } from "../../ops/softmax.js";
import { argmax, argmin, argsort, sort, topK } from "../../ops/sort.js";
import { updateSlice } from "../../ops/update-slice.js";
import { reshape } from "../../ops/movement.js";
import type { Tensor } from "../../tensor.js";
import type { Generator, Known } from "./generator.js";
import { isExact } from "./generator.js";
import { type Draw, isNumber, isWide, partner, someAxes } from "./smooth-ops.js";

const exactNumber = (v: Known): boolean => isNumber(v) && isExact(v);
const someAxis = (g: Generator, v: Known): number => g.rng.int(0, v.tensor.ndim - 1);
const hasAxis = (v: Known): boolean => v.tensor.ndim > 0;

/** A function with kinks but no jumps. */
const kinked =
  (name: string, f: (x: Tensor) => Tensor): Draw =>
  (g) => {
    const v = g.find(isWide);
    return (
      v &&
      g.add({
        text: `${name}($0)`,
        inputs: [v],
        build: ([x]) => f(x!),
        bound: v.bound,
        grain: v.grain,
        kinked: true,
      })
    );
  };

/** A function with jumps: only for numbers without roundings. */
const jumping =
  (name: string, f: (x: Tensor) => Tensor): Draw =>
  (g) => {
    const v = g.find((k) => isWide(k) && isExact(k));
    return (
      v && g.add({ text: `${name}($0)`, inputs: [v], build: ([x]) => f(x!), bound: v.bound + 2, grain: 1 })
    );
  };

const EXTREMES = { maximum: arithmetic.maximum, minimum: arithmetic.minimum };
const OVER = { max: reduce.max, min: reduce.min };
const COMPARE = { eq: logic.eq, ne: logic.ne, lt: logic.lt, le: logic.le, gt: logic.gt, ge: logic.ge };
const BITWISE = { and: logic.and, or: logic.or, xor: logic.xor };

const extreme: Draw = (g) => {
  const v = g.find(isNumber);
  if (!v) return null;
  const w = partner(g, v, isNumber);
  const f = g.rng.pick(["maximum", "minimum"] as const);
  return g.add({
    text: `${f}($0, $1)`,
    inputs: [v, w],
    build: ([a, b]) => EXTREMES[f](a!, b!),
    bound: Math.max(v.bound, w.bound),
    grain: Math.max(v.grain, w.grain),
    kinked: true,
  });
};

const extremeOver: Draw = (g) => {
  const v = g.find(isNumber);
  if (!v) return null;
  const { axes } = someAxes(g, v.tensor.shape);
  const keepDims = g.rng.chance(0.5);
  const f = g.rng.pick(["max", "min"] as const);
  return g.add({
    text: `${f}($0, ${JSON.stringify(axes)}, ${JSON.stringify({ keepDims })})`,
    inputs: [v],
    build: ([x]) => OVER[f](x!, axes, { keepDims }),
    bound: v.bound,
    grain: v.grain,
    kinked: true,
  });
};

const compare: Draw = (g) => {
  const v = g.find(exactNumber);
  if (!v) return null;
  const w = partner(g, v, exactNumber);
  if (!isExact(w)) return null;
  const f = g.rng.pick(["eq", "ne", "lt", "le", "gt", "ge"] as const);
  return g.add({
    text: `${f}($0, $1)`,
    inputs: [v, w],
    build: ([a, b]) => COMPARE[f](a!, b!),
    bound: 1,
    grain: 0,
  });
};

const isBits = (v: Known): boolean => ["bool", "i32", "u8", "u32"].includes(v.tensor.dtype);

const bitwise: Draw = (g) => {
  const v = g.find(isBits);
  if (!v) return null;
  const w = partner(g, v, (k) => k.tensor.dtype === v.tensor.dtype);
  if (w.tensor.dtype !== v.tensor.dtype) return null;
  const f = g.rng.pick(["and", "or", "xor"] as const);
  const bound = v.tensor.dtype === "bool" ? 1 : 2 ** Math.ceil(Math.log2(Math.max(v.bound, w.bound) + 1));
  return g.add({
    text: `${f}($0, $1)`,
    inputs: [v, w],
    build: ([a, b]) => BITWISE[f](a!, b!),
    bound,
    grain: 0,
  });
};

const choose: Draw = (g) => {
  const c = g.find((k) => k.tensor.dtype === "bool");
  const v = c && g.find(isNumber);
  if (!v) return null;
  const w = partner(g, v, isNumber);
  return g.add({
    text: "where($0, $1, $2)",
    inputs: [c, v, w],
    build: ([x, a, b]) => logic.where(x!, a!, b!),
    bound: Math.max(v.bound, w.bound),
    grain: Math.max(v.grain, w.grain),
  });
};

/** Indices into n places, as a leaf made of small integers. */
function indices(
  g: Generator,
  dims: readonly number[],
  n: number,
): { leaf: Known; wrap: (i: Tensor) => Tensor } {
  return { leaf: g.leaf(dims, "i32"), wrap: (i) => logic.cast(arithmetic.remainder(i, n), "i32") };
}

const takeRows: Draw = (g) => {
  const v = g.find(hasAxis);
  if (!v) return null;
  const axis = someAxis(g, v);
  const n = v.tensor.shape[axis]!;
  if (n === 0) return null;
  const { leaf, wrap } = indices(g, g.dims(0, 2), n);
  const build = ([x, i]: readonly Tensor[]) => take(x!, wrap(i!), axis);
  return g.add({
    text: `take($0, $1 mod ${n}, ${axis})`,
    inputs: [v, leaf],
    build,
    bound: v.bound,
    grain: v.grain,
  });
};

const takeAlong: Draw = (g) => {
  const v = g.find(hasAxis);
  if (!v) return null;
  const axis = someAxis(g, v);
  const n = v.tensor.shape[axis]!;
  if (n === 0) return null;
  const { leaf, wrap } = indices(
    g,
    v.tensor.shape.map((m, d) => (d === axis ? g.rng.int(1, 4) : m)),
    n,
  );
  const build = ([x, i]: readonly Tensor[]) => takeAlongAxis(x!, wrap(i!), axis);
  return g.add({
    text: `takeAlongAxis($0, $1 mod ${n}, ${axis})`,
    inputs: [v, leaf],
    build,
    bound: v.bound,
    grain: v.grain,
  });
};

const scatter: Draw = (g) => {
  const v = g.find((k) => isNumber(k) && hasAxis(k));
  if (!v) return null;
  const [n, rows] = [g.rng.int(1, 6), v.tensor.shape[0]!];
  const { leaf, wrap } = indices(g, [rows], n);
  const build = ([u, i]: readonly Tensor[]) => scatterAdd(wrap(i!), u!, { size: n });
  return g.add({
    text: `scatterAdd($1 mod ${n}, $0)`,
    inputs: [v, leaf],
    build,
    bound: v.bound * Math.max(1, rows),
    grain: v.grain,
  });
};

const join: Draw = (g) => {
  const v = g.find(hasAxis);
  if (!v) return null;
  const axis = someAxis(g, v);
  const fits = (k: Known): boolean =>
    k.tensor.dtype === v.tensor.dtype &&
    k.tensor.ndim === v.tensor.ndim &&
    k.tensor.shape.every((n, d) => d === axis || n === v.tensor.shape[d]);
  const w = g.find(fits)!;
  const build = ([a, b]: readonly Tensor[]) => concat([a!, b!], axis);
  return g.add({
    text: `concat([$0, $1], ${axis})`,
    inputs: [v, w],
    build,
    bound: Math.max(v.bound, w.bound),
    grain: Math.max(v.grain, w.grain),
  });
};

const running: Draw = (g) => {
  const v = g.find((k) => isNumber(k) && hasAxis(k));
  if (!v) return null;
  const axis = someAxis(g, v);
  const reverse = g.rng.chance(0.5);
  const build = ([x]: readonly Tensor[]) => cumsum(x!, axis, { reverse });
  const bound = v.bound * Math.max(1, v.tensor.shape[axis]!);
  return g.add({
    text: `cumsum($0, ${axis}, ${JSON.stringify({ reverse })})`,
    inputs: [v],
    build,
    bound,
    grain: v.grain,
  });
};

const order: Draw = (g) => {
  const v = g.find((k) => exactNumber(k) && hasAxis(k));
  if (!v) return null;
  const axis = someAxis(g, v);
  const n = v.tensor.shape[axis]!;
  const kind = g.rng.int(0, 4);
  const one = { inputs: [v], bound: v.bound, grain: v.grain };
  const place = { inputs: [v], bound: Math.max(1, n), grain: 0 };
  if (kind === 0)
    return g.add({ ...one, text: `sort($0, ${axis}).values`, build: ([x]) => sort(x!, axis).values });
  if (kind === 1) return g.add({ ...place, text: `argsort($0, ${axis})`, build: ([x]) => argsort(x!, axis) });
  if (kind === 2) return g.add({ ...place, text: `argmax($0, ${axis})`, build: ([x]) => argmax(x!, axis) });
  if (kind === 3) return g.add({ ...place, text: `argmin($0, ${axis})`, build: ([x]) => argmin(x!, axis) });
  const k = g.rng.int(1, Math.max(1, n));
  return g.add({ ...one, text: `topK($0, ${k}, ${axis}).values`, build: ([x]) => topK(x!, k, axis).values });
};

const write: Draw = (g) => {
  const v = g.find((k) => isWide(k) && hasAxis(k));
  if (!v) return null;
  const axis = someAxis(g, v);
  const n = v.tensor.shape[axis]!;
  if (n === 0) return null;
  const w = g.leaf(
    v.tensor.shape.map((m, d) => (d === axis ? g.rng.int(1, n) : m)),
    v.tensor.dtype,
  );
  const start = g.rng.int(0, n - 1);
  return g.add({
    text: `updateSlice($0, $1, ${start}, ${axis})`,
    inputs: [v, w],
    build: ([a, b]) => updateSlice(a!, b!, start, axis),
    bound: Math.max(v.bound, w.bound),
    grain: Math.max(v.grain, w.grain),
  });
};

/** A row-wise function of the last axis of f32 values. */
const rowWise =
  (name: string, f: (x: Tensor, w: Tensor) => Tensor, weighted: boolean, bound: (v: Known) => number): Draw =>
  (g) => {
    const v = g.find(
      (k) => k.tensor.dtype === "f32" && hasAxis(k) && k.bound < 50 && k.tensor.shape.at(-1)! > 1,
    );
    if (!v) return null;
    const w = weighted ? g.leaf(v.tensor.shape.slice(-1), "f32") : v;
    return g.add({ text: name, inputs: [v, w], build: ([x, y]) => f(x!, y!), bound: bound(v), grain: "any" });
  };

const masked: Draw = (g) => {
  const v = g.find((k) => k.tensor.dtype === "f32" && hasAxis(k) && k.bound < 50);
  if (!v) return null;
  const c = g.leaf(v.tensor.shape, "bool");
  const build = ([x, m]: readonly Tensor[]) => softmax(logic.where(m!, x!, Number.NEGATIVE_INFINITY));
  return g.add({ text: "softmax(where($1, $0, -∞))", inputs: [v, c], build, bound: 1, grain: "any" });
};

const loss: Draw = (g) => {
  const v = g.find(
    (k) => k.tensor.dtype === "f32" && hasAxis(k) && k.bound < 50 && k.tensor.shape.at(-1)! > 0,
  );
  if (!v) return null;
  const { leaf, wrap } = indices(g, v.tensor.shape.slice(0, -1), v.tensor.shape.at(-1)!);
  const reduction = g.rng.pick(["mean", "none"] as const);
  const build = ([x, i]: readonly Tensor[]) => crossEntropy(x!, wrap(i!), { reduction, ignoreIndex: 0 });
  return g.add({
    text: `crossEntropy($0, $1 mod V, ${reduction}, ignoring 0)`,
    inputs: [v, leaf],
    build,
    bound: 110,
    grain: "any",
  });
};

const attend: Draw = (g) => {
  const [t, s, hk, groups] = [g.rng.int(1, 5), g.rng.int(1, 5), g.rng.int(1, 2), g.rng.int(1, 2)];
  const q = g.leaf([2, t, hk * groups, 4], "f32");
  const k = g.leaf([2, s, hk, 4], "f32");
  const v = g.leaf([2, s, hk, 3], "f32");
  const causal = g.rng.chance(0.5);
  const turn = g.rng.chance(0.5);
  const build = ([a, b, c]: readonly Tensor[]) => {
    const positions = reshape(iota([t]), [1, t]);
    return attention(turn ? rope(a!, positions, inverseFrequencies(4)) : a!, b!, c!, { causal });
  };
  return g.add({
    text: `attention(${turn ? "rope($0)" : "$0"}, $1, $2, ${JSON.stringify({ causal })})`,
    inputs: [q, k, v],
    build,
    bound: 3,
    grain: "any",
  });
};

const convolve: Draw = (g) => {
  const x = g.leaf([g.rng.int(1, 2), 2, g.rng.int(3, 6), g.rng.int(3, 6)], "f32");
  const kind = g.rng.int(0, 2);
  if (kind === 0) {
    const w = g.leaf([3, 2, 2, 3], "f32");
    const stride = g.rng.int(1, 2);
    const build = ([a, b]: readonly Tensor[]) => conv2d(a!, b!, { stride, padding: 1 });
    return g.add({
      text: `conv2d($0, $1, stride ${stride}, padding 1)`,
      inputs: [x, w],
      build,
      bound: 108,
      grain: 2,
    });
  }
  const pool = kind === 1 ? maxPool2d : avgPool2d;
  const build = ([a]: readonly Tensor[]) => pool(a!, 2, { stride: 1 });
  return g.add({
    text: `${pool.name}($0, 2, stride 1)`,
    inputs: [x],
    build,
    bound: 3,
    grain: 3,
    kinked: kind === 1,
  });
};

const random: Draw = (g) => {
  const [dims, seed] = [g.dims(), g.rng.int(0, 1e6)];
  const kind = g.rng.int(0, 3);
  const k = () => key(seed).fold(1);
  if (kind === 0)
    return g.add({
      text: `uniform(${seed})`,
      inputs: [],
      build: () => uniform(dims, { key: k() }),
      bound: 1,
      grain: "any",
    });
  if (kind === 1)
    return g.add({
      text: `normal(${seed})`,
      inputs: [],
      build: () => normal(dims, { key: k() }),
      bound: 6,
      grain: "any",
    });
  if (kind === 2)
    return g.add({
      text: `bernoulli(${seed})`,
      inputs: [],
      build: () => bernoulli(dims, 0.5, { key: k() }),
      bound: 1,
      grain: 0,
    });
  const v = g.find(isWide);
  return (
    v &&
    g.add({
      text: `dropout($0, 0.5, ${seed})`,
      inputs: [v],
      build: ([x]) => dropout(x!, 0.5, { key: k() }),
      bound: v.bound * 2,
      grain: v.grain,
    })
  );
};

const fresh: Draw = (g) => {
  if (g.rng.chance(0.7)) return g.leaf(g.dims());
  const n = g.rng.int(1, 8);
  if (g.rng.chance(0.5))
    return g.add({ text: `eye(${n})`, inputs: [], build: () => eye(n), bound: 1, grain: 0 });
  const dims = g.dims(1, 3);
  return g.add({ text: "iota", inputs: [], build: () => iota(dims), bound: 1500, grain: 0 });
};

const hot: Draw = (g) => {
  const v = g.find((k) => k.tensor.dtype === "i32");
  return (
    v &&
    g.add({
      text: "oneHot($0 mod 4, 4)",
      inputs: [v],
      build: ([x]) => oneHot(logic.cast(arithmetic.remainder(x!, 4), "i32"), 4),
      bound: 1,
      grain: 0,
    })
  );
};

/** The same op on the same inputs again: a common subexpression. */
const again: Draw = (g) => {
  const v = g.find((k) => g.steps[k.step]!.inputs.length > 0);
  if (!v) return null;
  const step = g.steps[v.step]!;
  const inputs = step.inputs.map((i) => g.known[i]!);
  return g.add({
    text: step.text,
    inputs,
    build: step.build,
    bound: v.bound,
    grain: isExact(v) ? v.grain : "any",
    kinked: v.kinked,
  });
};

/** Ops with kinks, jumps, indices, rows and random numbers, with their weights. */
export const otherOps: readonly (readonly [number, Draw])[] = [
  [0.5, kinked("abs", math.abs)],
  [0.8, kinked("relu", activation.relu)],
  [0.4, kinked("x => clamp(x, -1, 1.5)", (x) => arithmetic.clamp(x, { min: -1, max: 1.5 }))],
  [0.4, jumping("floor", math.floor)],
  [0.4, jumping("round", math.round)],
  [0.4, jumping("sign", math.sign)],
  [0.4, jumping("x => remainder(x, 2)", (x) => arithmetic.remainder(x, 2))],
  [1.5, extreme],
  [1.5, extremeOver],
  [1.5, compare],
  [0.7, bitwise],
  [2, choose],
  [1.2, takeRows],
  [0.8, takeAlong],
  [0.8, scatter],
  [1.5, join],
  [0.8, running],
  [1, order],
  [0.8, write],
  [
    1,
    rowWise(
      "softmax($0)",
      (x) => softmax(x),
      false,
      () => 1,
    ),
  ],
  [
    0.6,
    rowWise(
      "logSoftmax($0)",
      (x) => logSoftmax(x),
      false,
      (v) => 2 * v.bound + 4,
    ),
  ],
  [
    0.8,
    rowWise(
      "layerNorm($0, $1, $1, eps 0.1)",
      (x, w) => layerNorm(x, w, w, { eps: 0.1 }),
      true,
      () => 25,
    ),
  ],
  [
    0.8,
    rowWise(
      "rmsNorm($0, $1, eps 0.1)",
      (x, w) => rmsNorm(x, w, { eps: 0.1 }),
      true,
      () => 20,
    ),
  ],
  [0.7, masked],
  [0.8, loss],
  [0.6, attend],
  [0.6, convolve],
  [1, random],
  [2, fresh],
  [0.4, hot],
  [1.5, again],
];
