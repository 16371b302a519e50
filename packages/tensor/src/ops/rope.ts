import { expectFloat } from "../dtype.js";
import { ConfigError, ShapeError } from "../errors.js";
import { defineOp, type OpDef } from "../op.js";
import { type Dims, showDims } from "../shape.js";
import { apply, type Tensor } from "../tensor.js";
import { concat, stack } from "./concat.js";
import { tensor } from "./create.js";
import { add, cos, mul, neg, sin, sub } from "./elementwise.js";
import { asIndex, castTo, expectDims, expectDtype, expectRank, wideDtype, widen } from "./expect.js";
import { reshape, slice } from "./movement.js";
import { sum } from "./reduce.js";

export interface RopeArg {
  /** Pairs are (0, 1), (2, 3), ...; otherwise (i, i + D/2) as in Hugging Face's Llama. */
  readonly interleaved: boolean;
  /** Turns the other way: the inverse, which is also the transpose. */
  readonly inverse: boolean;
}

/** The two halves of each pair, [B, T, H, D/2] each. */
function halves(x: Tensor, interleaved: boolean): [Tensor, Tensor] {
  const d = x.shape[3]!;
  if (!interleaved)
    return [slice(x, [null, null, null, [0, d / 2]]), slice(x, [null, null, null, [d / 2, d]])];
  const pairs = reshape(x, [...x.shape.slice(0, 3), d / 2, 2]);
  return [slice(pairs, [null, null, null, null, 0]), slice(pairs, [null, null, null, null, 1])];
}

const joined = (a: Tensor, b: Tensor, interleaved: boolean): Tensor =>
  interleaved ? reshape(stack([a, b], 4), [...a.shape.slice(0, 3), a.shape[3]! * 2]) : concat([a, b], 3);

/**
 * Rotary position embedding, Su et al. 2021 (arXiv:2104.09864), section 3.2.2. Each pair (a, b) of a head at position p
 * turns by the angle θ = p · inverseFrequencies[i]:
 *
 *     a' = a cos θ - b sin θ, b' = b cos θ + a sin θ
 *
 * x is [B, T, H, D], positions [B, T] or [1, T] i32, inverseFrequencies [D/2] f32. The paper pairs neighbours
 * (`interleaved`); Hugging Face's Llama pairs i with i + D/2.
 */
export const ropeOp: OpDef<RopeArg> = /* @__PURE__ */ defineOp<RopeArg>("rope", {
  kind: "composite",
  infer([x, positions, frequencies]) {
    expectFloat("rope", "x", x!.dtype);
    expectRank("rope", "x", x!.dims, 4, "[B, T, H, D]");
    const [b, t, , d] = x!.dims as [number, number, number, number];
    expectDtype("rope", "positions", positions!.dtype, "i32");
    const rows = positions!.dims[0] === 1 ? 1 : b;
    expectDims("rope", "positions", positions!.dims, [rows, t]);
    expectFloat("rope", "inverseFrequencies", frequencies!.dtype);
    if (d % 2 !== 0) throw new ShapeError({ where: "rope", expected: "an even head size", got: String(d) });
    expectDims("rope", "inverseFrequencies", frequencies!.dims, [d / 2]);
    return x!;
  },
  vjp(dy, { inputs: [x, positions, frequencies], outputs: [y], arg, needs }) {
    const dx = needs[0]
      ? apply(ropeOp, [dy, positions!, frequencies!], { ...arg, inverse: !arg.inverse })
      : null;
    if (!needs[2]) return [dx, null, null];
    // da'/dθ = -b', db'/dθ = a'; θ turns the other way for the inverse.
    const [da, db] = halves(widen(dy), arg.interleaved);
    const [a, b] = halves(widen(y!), arg.interleaved);
    const angle = sum(sub(mul(db, a), mul(da, b)), 2); // [B, T, D/2]
    const p = reshape(castTo(positions!, wideDtype(x!.dtype)), [...positions!.shape, 1]);
    const df = sum(mul(arg.inverse ? neg(angle) : angle, p), [0, 1]);
    return [dx, null, castTo(df, frequencies!.dtype)];
  },
  meaning([x, positions, frequencies], { interleaved, inverse }) {
    const f = castTo(frequencies!, wideDtype(x!.dtype));
    const p = reshape(castTo(positions!, f.dtype), [...positions!.shape, 1, 1]);
    const angle = mul(p, f); // [B or 1, T, 1, D/2]
    const c = cos(angle);
    const s = inverse ? neg(sin(angle)) : sin(angle);
    const [a, b] = halves(widen(x!), interleaved);
    return castTo(joined(sub(mul(a, c), mul(b, s)), add(mul(b, c), mul(a, s)), interleaved), x!.dtype);
  },
});

export interface RopeOptions {
  /** Pair neighbours instead of i with i + D/2. Default false. */
  interleaved?: boolean;
}

/**
 * Turns `x` [B, T, H, D] by its positions ([T], [1, T] or [B, T], any integer dtype), with `inverseFrequencies` [R/2].
 * When R is less than D, only the first R numbers of a head turn and the rest stay.
 *
 * @category Attention
 */
export function rope(
  x: Tensor,
  positions: Tensor,
  inverseFrequencies: Tensor,
  { interleaved = false }: RopeOptions = {},
): Tensor {
  const index = asIndex("rope", "positions", positions);
  const p = index.ndim === 1 ? reshape(index, [1, index.size]) : index;
  const turned = inverseFrequencies.size * 2;
  const d = x.shape[x.ndim - 1];
  const arg = { interleaved, inverse: false };
  if (x.ndim !== 4 || d === undefined || turned >= d) return apply(ropeOp, [x, p, inverseFrequencies], arg);
  const part = slice(x, [null, null, null, [0, turned]]);
  return concat(
    [apply(ropeOp, [part, p, inverseFrequencies], arg), slice(x, [null, null, null, [turned, d]])],
    3,
  );
}

/** How the frequencies of a pretrained model are changed for longer texts, with the fields of a `config.json`. */
export type RopeScaling =
  | { readonly type: "linear"; readonly factor: number }
  | {
      readonly type: "llama3";
      readonly factor: number;
      readonly lowFrequencyFactor: number;
      readonly highFrequencyFactor: number;
      /** Positions the model was trained on before. */
      readonly originalPositions: number;
    };

export interface InverseFrequencyOptions {
  /** Base of the powers. Default 10000. */
  theta?: number;
  scaling?: RopeScaling;
}

/**
 * The numbers `theta^(-2i / dim)` for i from 0 to dim/2 - 1, as an f32 tensor [dim/2]. `linear` divides them by the
 * factor; `llama3` divides those with a long wavelength, leaves those with a short one and blends between (the rule of
 * Llama 3.1, published with its reference code).
 *
 * @category Attention
 */
export function inverseFrequencies(
  dim: number,
  { theta = 10000, scaling }: InverseFrequencyOptions = {},
): Tensor {
  if (!Number.isInteger(dim) || dim <= 0 || dim % 2 !== 0) {
    throw new ConfigError({
      where: "inverseFrequencies",
      expected: "dim to be an even integer > 0",
      got: String(dim),
    });
  }
  if (!(theta > 0))
    throw new ConfigError({ where: "inverseFrequencies", expected: "theta > 0", got: String(theta) });
  const plain = Array.from({ length: dim / 2 }, (_, i) => theta ** ((-2 * i) / dim));
  const dims: Dims = [dim / 2];
  if (scaling && !(scaling.factor > 0)) {
    throw new ConfigError({
      where: "inverseFrequencies",
      expected: "a scaling factor > 0",
      got: showDims([scaling.factor]),
    });
  }
  const scaled = !scaling
    ? plain
    : plain.map((f) => (scaling.type === "linear" ? f / scaling.factor : llama3(f, scaling)));
  return tensor(Float32Array.from(scaled), { shape: dims });
}

function llama3(f: number, s: Extract<RopeScaling, { type: "llama3" }>): number {
  // How often this pair turns within the old context.
  const turns = (s.originalPositions * f) / (2 * Math.PI);
  const share = (turns - s.lowFrequencyFactor) / (s.highFrequencyFactor - s.lowFrequencyFactor);
  const kept = Math.min(1, Math.max(0, share));
  return kept * f + ((1 - kept) * f) / s.factor;
}
