import * as activation from "../../ops/activation.js";
import * as arithmetic from "../../ops/arithmetic.js";
import { cast, where } from "../../ops/logic.js";
import * as math from "../../ops/math.js";
import { matmul } from "../../ops/matmul.js";
import { broadcastTo, flip, permute, reshape, slice, stopGradient } from "../../ops/movement.js";
import { pad } from "../../ops/pad.js";
import * as reduce from "../../ops/reduce.js";
import { checkpoint } from "../../transform.js";
import { type Dims, sizeOf } from "../../shape.js";
import type { Tensor } from "../../tensor.js";
import type { Generator, Known } from "./generator.js";
import { isExact } from "./generator.js";

/** Tries to add one op; false when nothing suits it. */
export type Draw = (g: Generator) => unknown;

export const isWide = (v: Known): boolean => v.tensor.dtype === "f32" || v.tensor.dtype === "f64";
export const isNumber = (v: Known): boolean => isWide(v) || v.tensor.dtype === "i32";
export const isExactNumber = (v: Known): boolean => isNumber(v) && isExact(v);
export const hasAxis = (v: Known): boolean => v.tensor.ndim > 0;
const anything = (): boolean => true;

/** A view: the numbers stay what they are. */
const view =
  (draw: (g: Generator, dims: Dims) => { text: string; build: (x: Tensor) => Tensor } | null): Draw =>
  (g) => {
    const v = g.find(anything);
    const drawn = v && draw(g, v.tensor.shape);
    return (
      drawn &&
      g.add({
        text: drawn.text,
        inputs: [v],
        build: ([x]) => drawn.build(x!),
        bound: v.bound,
        grain: v.grain,
      })
    );
  };

const show = (value: unknown): string => JSON.stringify(value);

const reshapeView = view((g, dims) => {
  const factors = dims.flatMap((n) =>
    n > 3 && g.rng.chance(0.5) ? (n % 2 === 0 ? [2, n / 2] : n === 33 ? [3, 11] : [n]) : [n],
  );
  const out: number[] = [];
  for (const n of factors) {
    if (out.length > 0 && g.rng.chance(0.4)) out[out.length - 1]! *= n;
    else out.push(n);
  }
  if (g.rng.chance(0.3)) out.splice(g.rng.int(0, out.length), 0, 1);
  return { text: `reshape($0, ${show(out)})`, build: (x) => reshape(x, out) };
});

const permuteView = view((g, dims) => {
  const axes = g.rng.order(dims.length);
  return { text: `permute($0, ${show(axes)})`, build: (x) => permute(x, axes) };
});

const sliceView = view((g, dims) => {
  const ranges = dims.map((n) => {
    const kind = g.rng.int(0, 5);
    if (kind <= 1 || n === 0) return null;
    if (kind === 2) return g.rng.int(0, n - 1);
    const [a, b] = [g.rng.int(0, n - 1), g.rng.int(0, n)];
    const step = g.rng.int(1, 2);
    return kind === 3 ? ([null, null, -step] as const) : ([Math.min(a, b), Math.max(a, b), step] as const);
  });
  return { text: `slice($0, ${show(ranges)})`, build: (x) => slice(x, ranges) };
});

const flipView = view((g, dims) => {
  if (dims.length === 0) return null;
  const axis = g.rng.int(0, dims.length - 1);
  return { text: `flip($0, ${axis})`, build: (x) => flip(x, axis) };
});

const broadcastView = view((g, dims) => {
  const wide = dims.map((n) => (n === 1 ? g.rng.pick([1, 2, 3, 5]) : n));
  const lead = g.rng.chance(0.4) ? [g.rng.int(1, 3)] : [];
  const to = [...lead, ...wide];
  return { text: `broadcastTo($0, ${show(to)})`, build: (x) => broadcastTo(x, to) };
});

const padView = view((g, dims) => {
  const widths = dims.map(() => [g.rng.int(0, 2), g.rng.int(0, 2)] as const);
  const interior = dims.map(() => g.rng.pick([0, 0, 0, 1]));
  return {
    text: `pad($0, ${show(widths)}, ${show({ interior })})`,
    build: (x) => pad(x, widths, { interior }),
  };
});

const stopView = view(() => ({ text: "stopGradient($0)", build: stopGradient }));

type Bounded = (bound: number) => number;

/** A function without kinks, applied to f32 or f64. */
const smooth =
  (name: string, f: (x: Tensor) => Tensor, bound: Bounded, most = 1e5): Draw =>
  (g) => {
    const v = g.find((k) => isWide(k) && k.bound <= most);
    return (
      v &&
      g.add({ text: `${name}($0)`, inputs: [v], build: ([x]) => f(x!), bound: bound(v.bound), grain: "any" })
    );
  };

const above1 = (x: Tensor): Tensor => arithmetic.add(arithmetic.mul(x, x), 1);
const toUnit: Bounded = () => 1;
const same: Bounded = (b) => Math.max(b, 1);

const smoothFunctions: readonly Draw[] = [
  smooth("tanh", math.tanh, toUnit),
  smooth("sigmoid", math.sigmoid, toUnit),
  smooth("sin", math.sin, toUnit, 20),
  smooth("cos", math.cos, toUnit, 20),
  smooth("erf", math.erf, toUnit),
  smooth("silu", activation.silu, same),
  smooth("gelu", activation.gelu, same),
  smooth("geluTanh", activation.geluTanh, same),
  smooth("softplus", activation.softplus, (b) => b + 1),
  smooth("exp", math.exp, Math.exp, 4),
  smooth("expm1", math.expm1, Math.exp, 4),
  smooth(
    "x => sqrt(x² + 1)",
    (x) => math.sqrt(above1(x)),
    (b) => b + 1,
    100,
  ),
  smooth("x => rsqrt(x² + 1)", (x) => math.rsqrt(above1(x)), toUnit, 100),
  smooth("x => log(x² + 1)", (x) => math.log(above1(x)), same, 100),
  smooth("x => 1 / (x² + 1)", (x) => math.reciprocal(above1(x)), toUnit, 100),
  smooth("x => (x² + 1) ** 0.3", (x) => arithmetic.pow(above1(x), 0.3), same, 100),
  smooth(
    "checkpoint(x => tanh(x) * x)",
    checkpoint((x: Tensor) => math.tanh(x).mul(x)),
    same,
  ),
];

const negate: Draw = (g) => {
  const v = g.find(isNumber);
  return (
    v &&
    g.add({
      text: "neg($0)",
      inputs: [v],
      build: ([x]) => arithmetic.neg(x!),
      bound: v.bound,
      grain: v.grain,
    })
  );
};

const withNumber: Draw = (g) => {
  const v = g.find((k) => isWide(k) || k.tensor.dtype === "f16" || k.tensor.dtype === "bf16");
  if (!v) return null;
  const c = g.rng.pick([0.5, 2, -1.5, 3, 0.1]);
  const grain = c === 0.1 ? "any" : Math.max(v.grain, 0) + 1;
  if (g.rng.chance(0.5)) {
    return g.add({
      text: `add($0, ${c})`,
      inputs: [v],
      build: ([x]) => arithmetic.add(x!, c),
      bound: v.bound + 3,
      grain,
    });
  }
  return g.add({
    text: `mul($0, ${c})`,
    inputs: [v],
    build: ([x]) => arithmetic.mul(x!, c),
    bound: v.bound * 3,
    grain,
  });
};

/** A second operand: one that broadcasts with the first, a narrower leaf, or the first again. */
export function partner(g: Generator, v: Known, condition: (k: Known) => boolean): Known {
  const { rng } = g;
  if (rng.chance(0.12)) return v;
  const dims = v.tensor.shape;
  const found = g.find((k) => condition(k) && k !== v && broadcasts(k.tensor.shape, dims));
  if (found && rng.chance(0.75)) return found;
  const from = rng.int(0, dims.length);
  return g.leaf(
    dims.slice(rng.chance(0.4) ? from : 0).map((n) => (rng.chance(0.2) ? 1 : n)),
    v.tensor.dtype,
  );
}

function broadcasts(a: Dims, b: Dims): boolean {
  for (let i = 1; i <= Math.min(a.length, b.length); i++) {
    const [x, y] = [a[a.length - i]!, b[b.length - i]!];
    if (x !== y && x !== 1 && y !== 1) return false;
  }
  return true;
}

const isHalfOrNumber = (v: Known): boolean =>
  isNumber(v) || v.tensor.dtype === "f16" || v.tensor.dtype === "bf16";

const SUMS = { add: arithmetic.add, sub: arithmetic.sub };
const AVERAGES = { mean: reduce.mean, variance: reduce.variance, logsumexp: reduce.logsumexp };

const plus: Draw = (g) => {
  const v = g.find(isHalfOrNumber);
  if (!v) return null;
  const w = partner(g, v, isHalfOrNumber);
  const f = g.rng.pick(["add", "sub"] as const);
  const grain = Math.max(v.grain, w.grain);
  return g.add({
    text: `${f}($0, $1)`,
    inputs: [v, w],
    build: ([a, b]) => SUMS[f](a!, b!),
    bound: v.bound + w.bound,
    grain,
  });
};

const times: Draw = (g) => {
  const v = g.find(isHalfOrNumber);
  if (!v) return null;
  const w = partner(g, v, isHalfOrNumber);
  return g.add({
    text: "mul($0, $1)",
    inputs: [v, w],
    build: ([a, b]) => arithmetic.mul(a!, b!),
    bound: v.bound * w.bound,
    grain: v.grain + w.grain,
  });
};

const divide: Draw = (g) => {
  const v = g.find(isWide);
  if (!v) return null;
  const w = partner(g, v, (k) => isWide(k) && k.bound < 100);
  const build = ([a, b]: readonly Tensor[]) => arithmetic.div(a!, above1(b!));
  return g.add({ text: "div($0, $1² + 1)", inputs: [v, w], build, bound: v.bound, grain: "any" });
};

/** Axes to reduce, and how many numbers they hold. */
export function someAxes(g: Generator, dims: Dims): { axes: number[]; count: number } {
  const all = dims.map((_, d) => d);
  const axes = g.rng.chance(0.15) ? all : all.filter(() => g.rng.chance(0.5));
  return { axes, count: sizeOf(axes.map((d) => dims[d]!)) };
}

const sumUp: Draw = (g) => {
  const v = g.find((k) => isHalfOrNumber(k) || k.tensor.dtype === "bool" || k.tensor.dtype === "u8");
  if (!v) return null;
  const { axes, count } = someAxes(g, v.tensor.shape);
  const keepDims = g.rng.chance(0.5);
  const text = `sum($0, ${show(axes)}, ${show({ keepDims })})`;
  const build = ([x]: readonly Tensor[]) => reduce.sum(x!, axes, { keepDims });
  return g.add({ text, inputs: [v], build, bound: v.bound * Math.max(count, 1), grain: v.grain });
};

const average: Draw = (g) => {
  const v = g.find(isWide);
  if (!v) return null;
  const { axes, count } = someAxes(g, v.tensor.shape);
  if (count === 0) return null;
  const keepDims = g.rng.chance(0.5);
  const f = g.rng.pick(["mean", "variance", "logsumexp"] as const);
  const bound = f === "variance" ? v.bound ** 2 : v.bound + Math.log(count);
  const exact = f === "mean" && Number.isInteger(Math.log2(count));
  return g.add({
    text: `${f}($0, ${show(axes)}, ${show({ keepDims })})`,
    inputs: [v],
    build: ([x]) => AVERAGES[f](x!, axes, { keepDims }),
    bound,
    grain: exact ? Math.max(v.grain, 0) + Math.log2(count) : "any",
    // logsumexp shifts by its maximum, which leaves no trace in value or gradient.
  });
};

const product: Draw = (g) => {
  const v = g.find((k) => isWide(k) && k.tensor.ndim > 0);
  if (!v) return null;
  const axis = g.rng.int(0, v.tensor.ndim - 1);
  const n = v.tensor.shape[axis]!;
  if (n > 5) return null;
  const build = ([x]: readonly Tensor[]) => reduce.prod(x!, axis);
  return g.add({
    text: `prod($0, ${axis})`,
    inputs: [v],
    build,
    bound: Math.max(1, v.bound) ** n,
    grain: Math.max(v.grain, 0) * n,
  });
};

const multiply: Draw = (g) => {
  const v = g.find((k) => isWide(k) && k.tensor.ndim >= 1);
  if (!v) return null;
  const { shape, dtype } = v.tensor;
  const k = shape[shape.length - 1]!;
  const fitting = (w: Known): boolean =>
    w.tensor.dtype === dtype && w.tensor.ndim >= 2 && w.tensor.shape[w.tensor.ndim - 2] === k;
  const turned = g.rng.chance(0.3) && shape.length >= 2;
  const w = turned
    ? v
    : ((g.rng.chance(0.5) ? g.find(fitting) : null) ?? g.leaf([k, g.rng.pick([1, 2, 3, 5, 8])], dtype));
  return g.add({
    text: turned ? "matmul($0, $1.T)" : "matmul($0, $1)",
    inputs: [v, w],
    build: ([a, b]) => matmul(a!, turned ? b!.T : b!),
    bound: v.bound * w.bound * Math.max(k, 1),
    grain: v.grain + w.grain,
  });
};

/** The branch not taken may hold infinities: no gradient may come from it. */
const guarded: Draw = (g) => {
  const v = g.find((k) => isWide(k) && isExact(k));
  if (!v) return null;
  const build = ([x]: readonly Tensor[]) =>
    where(
      arithmetic.maximum(x!, 0).mul(2).sub(1).astype("i32"),
      math.log(arithmetic.add(x!.mul(x!), 0.5)),
      x!,
    );
  return g.add({
    text: "where(int(max($0, 0) * 2 - 1), log($0² + 0.5), $0)",
    inputs: [v],
    build,
    bound: v.bound + 10,
    grain: "any",
  });
};

const toOther: Draw = (g) => {
  const v = g.find((k) => k.tensor.dtype !== "bool" || isExact(k));
  if (!v) return null;
  const dtype = g.pickDType(["f32", "f32", "f16", "bf16", "f64", "i32"]);
  if (dtype === "i32" && !isExact(v)) return null;
  const grain = dtype === "i32" ? 0 : v.grain;
  return g.add({
    text: `cast($0, ${dtype})`,
    inputs: [v],
    build: ([x]) => cast(x!, dtype),
    bound: v.bound,
    grain,
  });
};

/** Ops without kinks, with their weights. */
export const smoothOps: readonly (readonly [number, Draw])[] = [
  [3, reshapeView],
  [3, permuteView],
  [3, sliceView],
  [1, flipView],
  [3, broadcastView],
  [1.5, padView],
  [0.5, stopView],
  ...smoothFunctions.map((f) => [0.45, f] as const),
  [1, negate],
  [3, withNumber],
  [5, plus],
  [4, times],
  [1.5, divide],
  [4, sumUp],
  [2, average],
  [0.7, product],
  [3, multiply],
  [0.5, guarded],
  [1.5, toOther],
];
