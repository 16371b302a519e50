import { expectFloat, promote } from "../dtype.js";
import { ConfigError, DTypeError, ShapeError } from "../errors.js";
import { type Aval, defineOp, type OpDef } from "../op.js";
import { broadcastDims, type Dims, sameDims, showDims } from "../shape.js";
import { applyMulti, type Tensor } from "../tensor.js";
import { arange, scalar } from "./create.js";
import { add, and, exp, gt, le, log, mul, sub, where } from "./elementwise.js";
import { asIndex, castTo, expectDims, expectDtype, expectRank, wideDtype, widen } from "./expect.js";
import { matmul } from "./matmul.js";
import { broadcastTo, permute, reshape, transpose } from "./movement.js";
import { sum } from "./reduce.js";
import { perSum, rowShift } from "./softmax.js";

export interface AttentionArg {
  readonly scale: number;
  /** Key j is visible to query i only if j ≤ i + offset. */
  readonly causal: boolean;
  /** Whether a mask follows the offset. */
  readonly mask: boolean;
}

interface Sizes {
  b: number;
  t: number;
  s: number;
  /** Key heads, and queries to each. */
  hk: number;
  g: number;
  d: number;
  dv: number;
}

function sizesOf(q: Dims, k: Dims, v: Dims): Sizes {
  const [b, t, h, d] = q as [number, number, number, number];
  const [, s, hk] = k as [number, number, number, number];
  return { b, t, s, hk, g: h / hk, d, dv: v[3]! };
}

function expectAttention(q: Aval, k: Aval, v: Aval, offset: Aval, mask: Aval | undefined): void {
  expectFloat("attention", "q", q.dtype);
  expectDtype("attention", "k", k.dtype, q.dtype);
  expectDtype("attention", "v", v.dtype, q.dtype);
  expectRank("attention", "q", q.dims, 4, "[B, T, H, D]");
  expectRank("attention", "k", k.dims, 4, "[B, S, Hk, D]");
  expectRank("attention", "v", v.dims, 4, "[B, S, Hk, Dv]");
  const [b, t, h, d] = q.dims as [number, number, number, number];
  const [, s, hk] = k.dims as [number, number, number, number];
  expectDims("attention", "k", k.dims, [b, s, hk, d]);
  expectDims("attention", "v", v.dims, [b, s, hk, v.dims[3]!]);
  if (hk === 0 || h % hk !== 0) {
    throw new ShapeError({
      where: "attention",
      expected: `a number of query heads that is a multiple of the ${hk} key heads`,
      got: String(h),
    });
  }
  expectDtype("attention", "offset", offset.dtype, "i32");
  expectDims("attention", "offset", offset.dims, []);
  if (!mask) return;
  expectDtype("attention", "mask", mask.dtype, "bool");
  expectDims("attention", "mask", mask.dims, [b, h, t, s]);
}

/** [B, T, H, D] as [B, Hk, G·T, D]: the queries of one key head stand together. */
const packQueries = (x: Tensor, { b, t, hk, g }: Sizes): Tensor =>
  reshape(permute(reshape(x, [b, t, hk, g, x.shape[3]!]), [0, 2, 3, 1, 4]), [b, hk, g * t, x.shape[3]!]);
const unpackQueries = (x: Tensor, { b, t, hk, g }: Sizes): Tensor =>
  reshape(permute(reshape(x, [b, hk, g, t, x.shape[3]!]), [0, 3, 1, 2, 4]), [b, t, hk * g, x.shape[3]!]);
/** [B, S, Hk, D] as [B, Hk, S, D], and back. */
const headsFirst = (x: Tensor): Tensor => permute(x, [0, 2, 1, 3]);

/** Which keys a query sees, to be broadcast to [B, Hk, G, T, S]; null when all. */
function visible(
  { b, t, s, hk, g }: Sizes,
  offset: Tensor,
  mask: Tensor | undefined,
  causal: boolean,
): Tensor | null {
  const given = mask ? reshape(mask, [b, hk, g, t, s]) : null;
  if (!causal) return given;
  const query = reshape(arange(0, t, 1, { dtype: "i32" }), [t, 1]);
  const past = le(arange(0, s, 1, { dtype: "i32" }), add(query, offset)); // [T, S]
  return given ? and(given, past) : past;
}

/** scale · q kᵀ with -∞ where nothing is seen: [B, Hk, G, T, S]. */
function scores(
  q: Tensor,
  k: Tensor,
  offset: Tensor,
  mask: Tensor | undefined,
  arg: AttentionArg,
  z: Sizes,
): Tensor {
  const product = matmul(packQueries(widen(q), z), transpose(headsFirst(widen(k))));
  const scaled = mul(reshape(product, [z.b, z.hk, z.g, z.t, z.s]), arg.scale);
  const seen = visible(z, offset, mask, arg.causal);
  return seen ? where(seen, scaled, Number.NEGATIVE_INFINITY) : scaled;
}

/** exp(scores - lse): the probabilities [B, Hk, G, T, S], zeros in a row without a visible key. */
function probabilities(
  q: Tensor,
  k: Tensor,
  offset: Tensor,
  mask: Tensor | undefined,
  lse: Tensor,
  arg: AttentionArg,
  z: Sizes,
): Tensor {
  const shift = reshape(where(gt(lse, Number.NEGATIVE_INFINITY), lse, 0), [z.b, z.hk, z.g, z.t, 1]);
  return exp(sub(scores(q, k, offset, mask, arg, z), shift));
}

/** Gradients of q and k from those of the scores, [B, Hk, G, T, S]. */
function throughScores(
  dScores: Tensor,
  q: Tensor,
  k: Tensor,
  { scale }: AttentionArg,
  z: Sizes,
): [Tensor, Tensor] {
  const ds = reshape(mul(dScores, scale), [z.b, z.hk, z.g * z.t, z.s]);
  const dq = unpackQueries(matmul(ds, headsFirst(widen(k))), z);
  const dk = headsFirst(matmul(transpose(ds), packQueries(widen(q), z)));
  return [castTo(dq, q.dtype), castTo(dk, k.dtype)];
}

const plus = (a: Tensor | null, b: Tensor | null): Tensor | null => (a && b ? add(a, b) : (a ?? b));

/**
 * Scaled dot-product attention, Vaswani et al. 2017 (arXiv:1706.03762), section 3.2.1, with fewer key heads than query
 * heads where wanted (Ainslie et al. 2023, arXiv:2305.13245): query head h reads key head floor(h / (H / Hk)).
 *
 *     P = softmax(scale · q kᵀ over the visible keys), o = P v, lse = log Σ exp(scale · q kᵀ)
 *
 * q [B, T, H, D], k [B, S, Hk, D], v [B, S, Hk, Dv], offset an i32 scalar, mask bool [B, H, T, S] (true: visible; a
 * broadcast view costs nothing). Results o [B, T, H, Dv] and lse [B, H, T] in f32. A query that sees no key gives o = 0
 * and lse = -∞. A kernel never writes P; the gradient needs q, k, v, o and lse only (Dao et al. 2022, arXiv:2205.14135).
 */
export const attentionOp: OpDef<AttentionArg> = /* @__PURE__ */ defineOp<AttentionArg>("attention", {
  scalarInputs: [3],
  kind: "composite",
  infer([q, k, v, offset, mask], arg) {
    expectAttention(q!, k!, v!, offset!, arg.mask ? mask : undefined);
    const [b, t, h] = q!.dims as [number, number, number];
    return [
      { dtype: q!.dtype, dims: [b, t, h, v!.dims[3]!] },
      { dtype: wideDtype(q!.dtype), dims: [b, h, t] },
    ];
  },
  vjp(_dy, { inputs, outputs: [o, lse], arg, dys: [dy, dlse] }) {
    const [q, k, v, offset, mask] = inputs as [Tensor, Tensor, Tensor, Tensor, Tensor?];
    const [dq, dk, dv] = dy
      ? applyMulti(attentionBackwardOp, [...inputs, o!, lse!, dy], arg)
      : [null, null, null];
    const rest = inputs.slice(3).map(() => null);
    if (!dlse) return [dq!, dk!, dv!, ...rest];
    // dlse/dscores = P
    const z = sizesOf(q.shape, k.shape, v.shape);
    const p = probabilities(q, k, offset, mask, lse!, arg, z);
    const [eq, ek] = throughScores(mul(p, reshape(dlse, [z.b, z.hk, z.g, z.t, 1])), q, k, arg, z);
    return [plus(dq!, eq), plus(dk!, ek), dv!, ...rest];
  },
  meaning([q, k, v, offset, mask], arg) {
    const z = sizesOf(q!.shape, k!.shape, v!.shape);
    const masked = scores(q!, k!, offset!, mask, arg, z);
    const shift = rowShift(masked);
    const e = exp(sub(masked, shift));
    const total = sum(e, -1, { keepDims: true });
    const p = reshape(perSum(e, total), [z.b, z.hk, z.g * z.t, z.s]);
    const o = unpackQueries(matmul(p, headsFirst(widen(v!))), z);
    const lse = reshape(add(log(total), shift), [z.b, z.hk * z.g, z.t]);
    return [castTo(o, q!.dtype), lse];
  },
});

/**
 * Gradients of attention, with P made again from lse and δ = Σ do · o per query:
 *
 *     dv = Pᵀ do, dS = P · (do vᵀ - δ), dq = scale · dS k, dk = scale · dSᵀ q
 *
 * Inputs q, k, v, offset, mask (if any), o, lse, do; results dq, dk, dv.
 */
export const attentionBackwardOp: OpDef<AttentionArg> = /* @__PURE__ */ defineOp<AttentionArg>(
  "attentionBackward",
  {
    scalarInputs: [3],
    kind: "composite",
    infer: ([q, k, v]) => [q!, k!, v!],
    meaning(inputs, arg) {
      const [q, k, v, offset] = inputs as [Tensor, Tensor, Tensor, Tensor];
      const mask = arg.mask ? inputs[4] : undefined;
      const [o, lse, dy] = inputs.slice(arg.mask ? 5 : 4) as [Tensor, Tensor, Tensor];
      const z = sizesOf(q.shape, k.shape, v.shape);
      const p = probabilities(q, k, offset, mask, lse, arg, z);
      const doPacked = packQueries(widen(dy), z); // [B, Hk, G·T, Dv]
      const dp = reshape(matmul(doPacked, transpose(headsFirst(widen(v)))), p.shape);
      const delta = reshape(sum(mul(doPacked, packQueries(widen(o), z)), -1), [z.b, z.hk, z.g, z.t, 1]);
      const [dq, dk] = throughScores(mul(p, sub(dp, delta)), q, k, arg, z);
      const dv = headsFirst(matmul(transpose(reshape(p, [z.b, z.hk, z.g * z.t, z.s])), doPacked));
      return [dq, dk, castTo(dv, v.dtype)];
    },
  },
);

export interface AttentionOptions {
  /** bool, broadcastable to [B, H, T, S]: true where a key may be seen. */
  mask?: Tensor;
  /** Key j is visible to query i only if j ≤ i + offset. Default false. */
  causal?: boolean;
  /** Factor of the scores. Default 1 / sqrt(D). */
  scale?: number;
  /** Position of the first query among the keys (the length of the cache before it). A number or an integer scalar
   * tensor; no new plan for a new value. Default 0. */
  offset?: number | Tensor;
}

/**
 * Attention in the layout of projections: q [B, T, H, D], k [B, S, Hk, D], v [B, S, Hk, Dv] give [B, T, H, Dv]. H is a
 * multiple of Hk (grouped queries). The score matrix is not kept for the gradient. A query that sees nothing gives 0.
 *
 * @category Attention
 */
export function attention(q: Tensor, k: Tensor, v: Tensor, options: AttentionOptions = {}): Tensor {
  const { mask, causal = false, scale = (q.shape[q.ndim - 1] ?? 1) ** -0.5, offset = 0 } = options;
  if (!Number.isFinite(scale)) {
    throw new ConfigError({ where: "attention", expected: "a finite scale", got: String(scale) });
  }
  const dtype = promote(promote(q.dtype, k.dtype), v.dtype);
  const inputs = [q, k, v].map((t) => castTo(t, dtype));
  inputs.push(
    typeof offset === "number" ? scalar(offset, { dtype: "i32" }) : asIndex("attention", "offset", offset),
  );
  if (mask) inputs.push(fullMask(mask, q, k));
  return applyMulti(attentionOp, inputs, { scale, causal, mask: mask !== undefined })[0]!;
}

function fullMask(mask: Tensor, q: Tensor, k: Tensor): Tensor {
  if (mask.dtype !== "bool") {
    throw new DTypeError({
      where: "attention",
      expected: "a bool mask, true where a key may be seen",
      got: mask.dtype,
      hint: "compare to make one, such as gt(mask, -1) for a mask of 0 and -inf",
    });
  }
  expectRank("attention", "q", q.shape, 4, "[B, T, H, D]");
  expectRank("attention", "k", k.shape, 4, "[B, S, Hk, D]");
  const dims = [q.shape[0]!, q.shape[2]!, q.shape[1]!, k.shape[1]!];
  if (!sameDims(broadcastDims("attention mask", mask.shape, dims), dims)) {
    throw new ShapeError({
      where: "attention",
      expected: `a mask that broadcasts to [B, H, T, S] = ${showDims(dims)}`,
      got: showDims(mask.shape),
    });
  }
  return broadcastTo(mask, dims);
}

/**
 * Attention in PyTorch's layout: q [B, H, T, D], k [B, Hk, S, D], v [B, Hk, S, Dv] give [B, H, T, Dv]; without the batch
 * axis, or without both leading axes, as well. Otherwise as `attention`; the permutations are views.
 *
 * @category Attention
 */
export function scaledDotProductAttention(
  q: Tensor,
  k: Tensor,
  v: Tensor,
  options: AttentionOptions = {},
): Tensor {
  if (q.ndim < 2 || q.ndim > 4 || k.ndim !== q.ndim || v.ndim !== q.ndim) {
    throw new ShapeError({
      where: "scaledDotProductAttention",
      expected: "q, k and v of shape [B, H, T, D] (or [H, T, D], or [T, D])",
      got: [q, k, v].map((t) => showDims(t.shape)).join(", "),
    });
  }
  const full = (x: Tensor) => headsFirst(reshape(x, [...new Array<number>(4 - x.ndim).fill(1), ...x.shape]));
  const y = headsFirst(attention(full(q), full(k), full(v), options));
  return reshape(y, [...q.shape.slice(0, -1), v.shape[v.ndim - 1]!]);
}
