import * as arithmetic from "../../ops/arithmetic.js";
import { concat } from "../../ops/concat.js";
import { oneHot, scatterAdd, take, takeAlongAxis } from "../../ops/gather.js";
import * as logic from "../../ops/logic.js";
import { cumsum } from "../../ops/scan.js";
import { argmax, argmin, argsort, sort, topK } from "../../ops/sort.js";
import { updateSlice } from "../../ops/update-slice.js";
import type { Tensor } from "../../tensor.js";
import type { Generator, Known } from "./generator.js";
import { type Draw, hasAxis, isExactNumber, isNumber, isWide } from "./smooth-ops.js";

const someAxis = (g: Generator, v: Known): number => g.rng.int(0, v.tensor.ndim - 1);

/** Indices into n places, as a leaf made of small integers. */
export function indices(
  g: Generator,
  dims: readonly number[],
  n: number,
): { leaf: Known; wrap: (i: Tensor) => Tensor } {
  return { leaf: g.leaf(dims, "i32"), wrap: (i) => logic.cast(arithmetic.remainder(i, n), "i32") };
}

export const takeRows: Draw = (g) => {
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

export const takeAlong: Draw = (g) => {
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

export const scatter: Draw = (g) => {
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

export const join: Draw = (g) => {
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

export const running: Draw = (g) => {
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

export const order: Draw = (g) => {
  const v = g.find((k) => isExactNumber(k) && hasAxis(k));
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

export const write: Draw = (g) => {
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

export const hot: Draw = (g) => {
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
