import { attention } from "../../ops/attention.js";
import { conv2d } from "../../ops/conv.js";
import { iota } from "../../ops/create.js";
import { crossEntropy } from "../../ops/cross-entropy.js";
import * as logic from "../../ops/logic.js";
import { reshape } from "../../ops/movement.js";
import { avgPool2d, maxPool2d } from "../../ops/pool.js";
import { inverseFrequencies, rope } from "../../ops/rope.js";
import { softmax } from "../../ops/softmax.js";
import type { Tensor } from "../../tensor.js";
import type { Known } from "./generator.js";
import { indices } from "./indexed-ops.js";
import { type Draw, hasAxis } from "./smooth-ops.js";

/** A row-wise function of the last axis of f32 values. */
export const rowWise =
  (name: string, f: (x: Tensor, w: Tensor) => Tensor, weighted: boolean, bound: (v: Known) => number): Draw =>
  (g) => {
    const v = g.find(
      (k) => k.tensor.dtype === "f32" && hasAxis(k) && k.bound < 50 && k.tensor.shape.at(-1)! > 1,
    );
    if (!v) return null;
    const w = weighted ? g.leaf(v.tensor.shape.slice(-1), "f32") : v;
    return g.add({ text: name, inputs: [v, w], build: ([x, y]) => f(x!, y!), bound: bound(v), grain: "any" });
  };

export const masked: Draw = (g) => {
  const v = g.find((k) => k.tensor.dtype === "f32" && hasAxis(k) && k.bound < 50);
  if (!v) return null;
  const c = g.leaf(v.tensor.shape, "bool");
  const build = ([x, m]: readonly Tensor[]) => softmax(logic.where(m!, x!, Number.NEGATIVE_INFINITY));
  return g.add({ text: "softmax(where($1, $0, -∞))", inputs: [v, c], build, bound: 1, grain: "any" });
};

export const loss: Draw = (g) => {
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

export const attend: Draw = (g) => {
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

export const convolve: Draw = (g) => {
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
