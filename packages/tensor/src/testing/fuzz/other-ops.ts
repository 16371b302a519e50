import * as activation from "../../ops/activation.js";
import * as arithmetic from "../../ops/arithmetic.js";
import { eye, iota } from "../../ops/create.js";
import * as math from "../../ops/math.js";
import { layerNorm, rmsNorm } from "../../ops/norm.js";
import { bernoulli, dropout, key, normal, uniform } from "../../ops/random.js";
import { logSoftmax, softmax } from "../../ops/softmax.js";
import { isExact } from "./generator.js";
import * as indexed from "./indexed-ops.js";
import * as network from "./network-ops.js";
import * as pointwise from "./pointwise-ops.js";
import { type Draw, isWide } from "./smooth-ops.js";

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
  [0.5, pointwise.kinked("abs", math.abs)],
  [0.8, pointwise.kinked("relu", activation.relu)],
  [0.4, pointwise.kinked("x => clamp(x, -1, 1.5)", (x) => arithmetic.clamp(x, { min: -1, max: 1.5 }))],
  [0.4, pointwise.jumping("floor", math.floor)],
  [0.4, pointwise.jumping("round", math.round)],
  [0.4, pointwise.jumping("sign", math.sign)],
  [0.4, pointwise.jumping("x => remainder(x, 2)", (x) => arithmetic.remainder(x, 2))],
  [1.5, pointwise.extreme],
  [1.5, pointwise.extremeOver],
  [1.5, pointwise.compare],
  [0.7, pointwise.bitwise],
  [2, pointwise.choose],
  [1.2, indexed.takeRows],
  [0.8, indexed.takeAlong],
  [0.8, indexed.scatter],
  [1.5, indexed.join],
  [0.8, indexed.running],
  [1, indexed.order],
  [0.8, indexed.write],
  [
    1,
    network.rowWise(
      "softmax($0)",
      (x) => softmax(x),
      false,
      () => 1,
    ),
  ],
  [
    0.6,
    network.rowWise(
      "logSoftmax($0)",
      (x) => logSoftmax(x),
      false,
      (v) => 2 * v.bound + 4,
    ),
  ],
  [
    0.8,
    network.rowWise(
      "layerNorm($0, $1, $1, eps 0.1)",
      (x, w) => layerNorm(x, w, w, { eps: 0.1 }),
      true,
      () => 25,
    ),
  ],
  [
    0.8,
    network.rowWise(
      "rmsNorm($0, $1, eps 0.1)",
      (x, w) => rmsNorm(x, w, { eps: 0.1 }),
      true,
      () => 20,
    ),
  ],
  [0.7, network.masked],
  [0.8, network.loss],
  [0.6, network.attend],
  [0.6, network.convolve],
  [1, random],
  [2, fresh],
  [0.4, indexed.hot],
  [1.5, again],
];
