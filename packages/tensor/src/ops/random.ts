import { type DType, expectFloat } from "../dtype.js";
import { ConfigError } from "../errors.js";
import { type Dims, normalizeAxis } from "../shape.js";
import type { Tensor } from "../tensor.js";
import { add, mul, neg, sub } from "./arithmetic.js";
import { iota, scalar } from "./create.js";
import { expectPositiveInteger } from "./expect.js";
import { and, cast, lt, shiftRight, threefry, where } from "./logic.js";
import { erfinv, log } from "./math.js";
import { unchanged } from "./movement.js";
import { argmax, argsort } from "./sort.js";

const U32 = { dtype: "u32" } as const;

/**
 * A random key: two 32-bit words that name a stream of random numbers. Nothing is drawn from it in turn: the same key
 * gives the same numbers each time, so every use takes a key of its own, by `split` or `fold`.
 *
 * The words are scalars of the graph, so that a new seed or step runs the plan of the old one.
 */
export class Key {
  /** @internal */
  constructor(
    readonly k0: Tensor,
    readonly k1: Tensor,
  ) {}

  /** `count` independent keys. */
  split(count = 2): Key[] {
    expectPositiveInteger("split", "count", count);
    return Array.from({ length: count }, (_, i) => this.derive(i, SPLIT));
  }

  /** The key that belongs to a number: of a step, a layer, a row. */
  fold(i: number): Key {
    if (!Number.isSafeInteger(i) || i < 0) {
      throw new ConfigError({ where: "fold", expected: "an integer from 0 to 2^53 − 1", got: String(i) });
    }
    return i < 2 ** 32
      ? this.derive(i, FOLD)
      : this.derive(i % 2 ** 32, FOLD).derive(Math.floor(i / 2 ** 32), FOLD);
  }

  /** The key that belongs to a name: of a module, a parameter. */
  foldName(name: string): Key {
    return this.derive(fnv1a(name), NAME);
  }

  private derive(i: number, purpose: number): Key {
    const at = scalar(i, U32);
    const word = (n: number): Tensor => threefry(this.k0, this.k1, scalar(purpose + n, U32), at);
    return new Key(word(0), word(1));
  }
}

// The upper counter word of what is derived from a key; numbers use 0 there. Apart by 2, for the two words of a key.
const SPLIT = 0x80000000;
const FOLD = 0x80000002;
const NAME = 0x80000004;

/** FNV-1a, 32 bits, over UTF-16 units: Fowler, Noll, Vo. */
function fnv1a(text: string): number {
  let hash = 0x811c9dc5;
  for (let i = 0; i < text.length; i++) hash = Math.imul(hash ^ text.charCodeAt(i), 0x01000193);
  return hash >>> 0;
}

/**
 * The key of a seed (64 bits; negative numbers wrap).
 *
 * @example
 * ```ts
 * const [init, noise] = key(42).split();
 * normal([64, 8], { key: init });
 * ```
 * @category Random numbers
 */
export function key(seed: number | bigint): Key {
  if (typeof seed === "number" && !Number.isSafeInteger(seed)) {
    throw new ConfigError({
      where: "key",
      expected: "a seed that is a safe integer or a bigint",
      got: String(seed),
    });
  }
  const wide = BigInt.asUintN(64, BigInt(seed));
  return new Key(scalar(Number(wide & 0xffffffffn), U32), scalar(Number(wide >> 32n), U32));
}

export interface RandomOptions {
  /** Which numbers: the same key gives the same ones. */
  key: Key;
  dtype?: DType;
}

/**
 * 32 random bits per element, as u32. Element i depends on the key and its flat index i only: bits([8]) begins
 * bits([16]), whatever the device.
 *
 * Source: Threefry-2x32 with 20 rounds; Salmon et al. 2011, "Parallel random numbers: as easy as 1, 2, 3".
 *
 * @category Random numbers
 */
export function bits(dims: Dims, { key }: { key: Key }): Tensor {
  return threefry(key.k0, key.k1, scalar(0, U32), iota(dims, U32));
}

// 24 bits, as many as an f32 holds exactly: m · 2⁻²⁴ with m from 0 to 2²⁴ − 1.
const unit = (dims: Dims, options: RandomOptions): Tensor =>
  mul(cast(shiftRight(bits(dims, options), 8), "f32"), 2 ** -24);

export interface UniformOptions extends RandomOptions {
  /** Lower end, included. Default: 0. */
  min?: number;
  /** Upper end, excluded (up to rounding). Default: 1. */
  max?: number;
}

/**
 * Numbers spread evenly over [min, max): 2²⁴ different ones.
 *
 * @category Random numbers
 */
export function uniform(dims: Dims, options: UniformOptions): Tensor {
  const { min = 0, max = 1, dtype = "f32" } = options;
  expectFloat("uniform", "dtype", dtype);
  const u = unit(dims, options);
  const scaled = max - min === 1 ? u : mul(u, max - min);
  return cast(min === 0 ? scaled : add(scaled, min), dtype);
}

export interface NormalOptions extends RandomOptions {
  /** Default: 0. */
  mean?: number;
  /** Standard deviation. Default: 1. */
  std?: number;
}

/**
 * Numbers of the normal distribution: √2 · erf⁻¹(2u − 1) of a uniform u, all within 5.5 standard deviations.
 *
 * @category Random numbers
 */
export function normal(dims: Dims, options: NormalOptions): Tensor {
  const { mean = 0, std = 1, dtype = "f32" } = options;
  expectFloat("normal", "dtype", dtype);
  // The middles of 2²³ steps, (2m + 1) · 2⁻²³ − 1: exact in f32, symmetric, and never ±1.
  const m = cast(shiftRight(bits(dims, options), 9), "f32");
  const centred = sub(mul(add(m, 0.5), 2 ** -22), 1);
  const scaled = mul(erfinv(centred), Math.SQRT2 * std);
  return cast(mean === 0 ? scaled : add(scaled, mean), dtype);
}

/**
 * True with probability p, as bool.
 *
 * @category Random numbers
 */
export function bernoulli(dims: Dims, p: number | Tensor, options: RandomOptions): Tensor {
  return lt(unit(dims, options), p);
}

export interface RandintOptions extends RandomOptions {
  /** Lower end, included. Default: 0. */
  min?: number;
  /** Upper end, excluded. */
  max: number;
}

/**
 * Integers from `min` up to but not including `max`, as i32. The upper 32 bits of bits · range: no value is favoured by
 * more than range / 2³².
 *
 * @category Random numbers
 */
export function randint(dims: Dims, options: RandintOptions): Tensor {
  const { min = 0, max, dtype = "i32" } = options;
  const range = max - min;
  if (!Number.isInteger(min) || !Number.isInteger(max) || !(range > 0 && range < 2 ** 31)) {
    throw new ConfigError({
      where: "randint",
      expected: "integers min < max, less than 2^31 apart",
      got: `${min} and ${max}`,
    });
  }
  const [low, high] = [scalar(range % 65536, U32), scalar(Math.floor(range / 65536), U32)];
  const x = bits(dims, options);
  const [x0, x1] = [and(x, 65535), shiftRight(x, 16)];
  // Multiply by halves of 16 bits, so that nothing overflows 32.
  const mid = add(mul(x1, low), shiftRight(mul(x0, low), 16));
  const carry = add(and(mid, 65535), mul(x0, high));
  const top = add(add(mul(x1, high), shiftRight(mid, 16)), shiftRight(carry, 16));
  const drawn = cast(top, "i32");
  return cast(min === 0 ? drawn : add(drawn, min), dtype);
}

/**
 * Numbers of the Gumbel distribution, −log(−log u).
 *
 * @category Random numbers
 */
export function gumbel(dims: Dims, options: RandomOptions): Tensor {
  const u = mul(add(cast(shiftRight(bits(dims, options), 9), "f32"), 0.5), 2 ** -23); // never 0 or 1
  return cast(neg(log(neg(log(u)))), options.dtype ?? "f32");
}

/**
 * One index along `axis` (default the last), i32, drawn with probabilities ∝ e^logits: the largest of logits plus Gumbel
 * noise (Gumbel 1954; Maddison et al. 2014).
 *
 * @category Random numbers
 */
export function categorical(logits: Tensor, { key, axis = -1 }: { key: Key; axis?: number }): Tensor {
  const d = normalizeAxis("categorical", axis, logits.ndim);
  expectFloat("categorical", "logits", logits.dtype);
  return argmax(add(cast(logits, "f32"), gumbel(logits.shape, { key })), d);
}

/**
 * The numbers 0 to n − 1 in random order, i32.
 *
 * @category Random numbers
 */
export function permutation(n: number, { key }: { key: Key }): Tensor {
  return argsort(bits([n], { key }));
}

/**
 * Sets elements to 0 with probability p and scales the others by 1 / (1 − p), so that the mean stays (Srivastava et al.
 * 2014). p = 0 changes nothing.
 *
 * @category Random numbers
 */
export function dropout(x: Tensor, p: number, { key }: { key: Key }): Tensor {
  if (!(p >= 0 && p < 1))
    throw new ConfigError({ where: "dropout", expected: "p from 0 to below 1", got: String(p) });
  if (p === 0) return unchanged(x);
  return where(bernoulli(x.shape, 1 - p, { key }), mul(x, 1 / (1 - p)), 0);
}
