// Loops over blocks of f32. A source has a step: 16 bytes from vector to vector, or 0 for a value that is the same
// everywhere. Blocks are whole pairs of vectors, so all loops take two vectors at a time. A destination may be a source.
import { f32x4ToF16, f16x4ToF32, f32x4ToBf16 } from "./half";
import { madd } from "./simd";
import { acos4, asin4, atan4, atan24, cosh4, remainder4, sinh4 } from "./simd-inverse";
import { erf4, erfinv4, exp4, expm1x4, log1px4, log4, sigmoid4, tanh4 } from "./simd-math";
import { pow4 } from "./simd-power";
import { cos4, sin4, tan4 } from "./simd-trig";

/** d = f(a, b) for blocks that end at `end`. T has a method f; no T is ever made. */
export function binary<T>(d: usize, a: usize, sa: usize, b: usize, sb: usize, end: usize): void {
  const t = changetype<T>(<usize>0);
  const sa2 = sa << 1;
  const sb2 = sb << 1;
  do {
    const x = t.f(v128.load(a), v128.load(b));
    const y = t.f(v128.load(a + sa), v128.load(b + sb));
    v128.store(d, x);
    v128.store(d, y, 16);
    a += sa2;
    b += sb2;
    d += 32;
  } while (d < end);
}

/** d = f(a) for cheap f. */
export function unary<T>(d: usize, a: usize, sa: usize, end: usize): void {
  const t = changetype<T>(<usize>0);
  const sa2 = sa << 1;
  do {
    const x = t.f(v128.load(a));
    const y = t.f(v128.load(a + sa));
    v128.store(d, x);
    v128.store(d, y, 16);
    a += sa2;
    d += 32;
  } while (d < end);
}

/** d = f(a) for long f: the processor overlaps iterations by itself, and two at once would run out of registers. */
export function long<T>(d: usize, a: usize, sa: usize, end: usize): void {
  const t = changetype<T>(<usize>0);
  do {
    v128.store(d, t.f(v128.load(a)));
    a += sa;
    d += 16;
  } while (d < end);
}

export function longBinary<T>(d: usize, a: usize, sa: usize, b: usize, sb: usize, end: usize): void {
  const t = changetype<T>(<usize>0);
  do {
    v128.store(d, t.f(v128.load(a), v128.load(b)));
    a += sa;
    b += sb;
    d += 16;
  } while (d < end);
}

export function ternary<T>(
  d: usize,
  a: usize,
  sa: usize,
  b: usize,
  sb: usize,
  c: usize,
  sc: usize,
  end: usize,
): void {
  const t = changetype<T>(<usize>0);
  do {
    v128.store(d, t.f(v128.load(a), v128.load(b), v128.load(c)));
    a += sa;
    b += sb;
    c += sc;
    d += 16;
  } while (d < end);
}

// Each class below is an operation on vectors of four f32.

@final
export class AddF {
  // @ts-ignore: decorator
  @inline
  f(a: v128, b: v128): v128 {
    return f32x4.add(a, b);
  }
}

@final
export class SubF {
  // @ts-ignore: decorator
  @inline
  f(a: v128, b: v128): v128 {
    return f32x4.sub(a, b);
  }
}

@final
export class MulF {
  // @ts-ignore: decorator
  @inline
  f(a: v128, b: v128): v128 {
    return f32x4.mul(a, b);
  }
}

@final
export class DivF {
  // @ts-ignore: decorator
  @inline
  f(a: v128, b: v128): v128 {
    return f32x4.div(a, b);
  }
}

@final
export class MaxF {
  // @ts-ignore: decorator
  @inline
  f(a: v128, b: v128): v128 {
    return f32x4.max(a, b);
  }
}

@final
export class MinF {
  // @ts-ignore: decorator
  @inline
  f(a: v128, b: v128): v128 {
    return f32x4.min(a, b);
  }
}

@final
export class PowF {
  // @ts-ignore: decorator
  @inline
  f(a: v128, b: v128): v128 {
    return pow4(a, b);
  }
}

@final
export class EqF {
  // @ts-ignore: decorator
  @inline
  f(a: v128, b: v128): v128 {
    return f32x4.eq(a, b);
  }
}

@final
export class NeF {
  // @ts-ignore: decorator
  @inline
  f(a: v128, b: v128): v128 {
    return f32x4.ne(a, b);
  }
}

@final
export class LtF {
  // @ts-ignore: decorator
  @inline
  f(a: v128, b: v128): v128 {
    return f32x4.lt(a, b);
  }
}

@final
export class LeF {
  // @ts-ignore: decorator
  @inline
  f(a: v128, b: v128): v128 {
    return f32x4.le(a, b);
  }
}

@final
export class NegF {
  // @ts-ignore: decorator
  @inline
  f(a: v128): v128 {
    return f32x4.neg(a);
  }
}

@final
export class AbsF {
  // @ts-ignore: decorator
  @inline
  f(a: v128): v128 {
    return f32x4.abs(a);
  }
}

@final
export class FloorF {
  // @ts-ignore: decorator
  @inline
  f(a: v128): v128 {
    return f32x4.floor(a);
  }
}

@final
export class CeilF {
  // @ts-ignore: decorator
  @inline
  f(a: v128): v128 {
    return f32x4.ceil(a);
  }
}

@final
export class TruncF {
  // @ts-ignore: decorator
  @inline
  f(a: v128): v128 {
    return f32x4.trunc(a);
  }
}

@final
export class RoundF {
  // @ts-ignore: decorator
  @inline
  f(a: v128): v128 {
    return f32x4.nearest(a);
  }
}

@final
export class SqrtF {
  // @ts-ignore: decorator
  @inline
  f(a: v128): v128 {
    return f32x4.sqrt(a);
  }
}

@final
export class RsqrtF {
  // @ts-ignore: decorator
  @inline
  f(a: v128): v128 {
    return f32x4.div(f32x4.splat(1), f32x4.sqrt(a));
  }
}

@final
export class RecipF {
  // @ts-ignore: decorator
  @inline
  f(a: v128): v128 {
    return f32x4.div(f32x4.splat(1), a);
  }
}

@final
export class SignF {
  // @ts-ignore: decorator
  @inline
  f(a: v128): v128 {
    const zero = f32x4.splat(0);
    const one = f32x4.splat(1);
    const some = v128.or(one, v128.and(a, i32x4.splat(0x80000000)));
    return v128.bitselect(some, a, v128.or(f32x4.lt(a, zero), f32x4.gt(a, zero)));
  }
}

@final
export class ExpF {
  // @ts-ignore: decorator
  @inline
  f(a: v128): v128 {
    return exp4(a);
  }
}

@final
export class Expm1F {
  // @ts-ignore: decorator
  @inline
  f(a: v128): v128 {
    return expm1x4(a);
  }
}

@final
export class LogF {
  // @ts-ignore: decorator
  @inline
  f(a: v128): v128 {
    return log4(a);
  }
}

@final
export class Log1pF {
  // @ts-ignore: decorator
  @inline
  f(a: v128): v128 {
    return log1px4(a);
  }
}

@final
export class SinF {
  // @ts-ignore: decorator
  @inline
  f(a: v128): v128 {
    return sin4(a);
  }
}

@final
export class CosF {
  // @ts-ignore: decorator
  @inline
  f(a: v128): v128 {
    return cos4(a);
  }
}

@final
export class TanF {
  // @ts-ignore: decorator
  @inline
  f(a: v128): v128 {
    return tan4(a);
  }
}

@final
export class TanhF {
  // @ts-ignore: decorator
  @inline
  f(a: v128): v128 {
    return tanh4(a);
  }
}

@final
export class SigmoidF {
  // @ts-ignore: decorator
  @inline
  f(a: v128): v128 {
    return sigmoid4(a);
  }
}

@final
export class ErfF {
  // @ts-ignore: decorator
  @inline
  f(a: v128): v128 {
    return erf4(a);
  }
}

@final
export class ErfinvF {
  // @ts-ignore: decorator
  @inline
  f(a: v128): v128 {
    return erfinv4(a);
  }
}

@final
export class RoundF16 {
  // @ts-ignore: decorator
  @inline
  f(a: v128): v128 {
    return f16x4ToF32(f32x4ToF16(a));
  }
}

@final
export class RoundBf16 {
  // @ts-ignore: decorator
  @inline
  f(a: v128): v128 {
    return i32x4.shl(f32x4ToBf16(a), 16);
  }
}

@final
export class FtoI {
  // @ts-ignore: decorator
  @inline
  f(a: v128): v128 {
    return i32x4.trunc_sat_f32x4_s(a);
  }
}

@final
export class ItoF {
  // @ts-ignore: decorator
  @inline
  f(a: v128): v128 {
    return f32x4.convert_i32x4_s(a);
  }
}

@final
export class UtoF {
  // @ts-ignore: decorator
  @inline
  f(a: v128): v128 {
    return f32x4.convert_i32x4_u(a);
  }
}

@final
export class BtoF {
  // @ts-ignore: decorator
  @inline
  f(a: v128): v128 {
    return v128.and(a, f32x4.splat(1));
  }
}

@final
export class FtoU {
  // @ts-ignore: decorator
  @inline
  f(a: v128): v128 {
    return i32x4.trunc_sat_f32x4_u(a);
  }
}

@final
export class MaddF {
  // @ts-ignore: decorator
  @inline
  f(a: v128, b: v128, c: v128): v128 {
    return madd(a, b, c);
  }
}

@final
export class Where {
  // @ts-ignore: decorator
  @inline
  f(a: v128, b: v128, c: v128): v128 {
    return v128.bitselect(b, c, a);
  }
}

@final
export class AsinF {
  // @ts-ignore: decorator
  @inline
  f(a: v128): v128 {
    return asin4(a);
  }
}

@final
export class AcosF {
  // @ts-ignore: decorator
  @inline
  f(a: v128): v128 {
    return acos4(a);
  }
}

@final
export class AtanF {
  // @ts-ignore: decorator
  @inline
  f(a: v128): v128 {
    return atan4(a);
  }
}

@final
export class SinhF {
  // @ts-ignore: decorator
  @inline
  f(a: v128): v128 {
    return sinh4(a);
  }
}

@final
export class CoshF {
  // @ts-ignore: decorator
  @inline
  f(a: v128): v128 {
    return cosh4(a);
  }
}

@final
export class Atan2F {
  // @ts-ignore: decorator
  @inline
  f(a: v128, b: v128): v128 {
    return atan24(a, b);
  }
}

@final
export class RemF {
  // @ts-ignore: decorator
  @inline
  f(a: v128, b: v128): v128 {
    return remainder4(a, b);
  }
}
