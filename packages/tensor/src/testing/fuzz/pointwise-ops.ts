import * as arithmetic from "../../ops/arithmetic.js";
import * as logic from "../../ops/logic.js";
import * as reduce from "../../ops/reduce.js";
import type { Tensor } from "../../tensor.js";
import { isExact, type Known } from "./generator.js";
import { type Draw, isExactNumber, isNumber, isWide, partner, someAxes } from "./smooth-ops.js";

const EXTREMES = { maximum: arithmetic.maximum, minimum: arithmetic.minimum };
const OVER = { max: reduce.max, min: reduce.min };
const COMPARE = { eq: logic.eq, ne: logic.ne, lt: logic.lt, le: logic.le, gt: logic.gt, ge: logic.ge };
const BITWISE = { and: logic.and, or: logic.or, xor: logic.xor };

/** A function with kinks but no jumps. */
export const kinked =
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
export const jumping =
  (name: string, f: (x: Tensor) => Tensor): Draw =>
  (g) => {
    const v = g.find((k) => isWide(k) && isExact(k));
    return (
      v && g.add({ text: `${name}($0)`, inputs: [v], build: ([x]) => f(x!), bound: v.bound + 2, grain: 1 })
    );
  };

export const extreme: Draw = (g) => {
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

export const extremeOver: Draw = (g) => {
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

export const compare: Draw = (g) => {
  const v = g.find(isExactNumber);
  if (!v) return null;
  const w = partner(g, v, isExactNumber);
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

export const bitwise: Draw = (g) => {
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

export const choose: Draw = (g) => {
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
