// Operations on f64, each a class: with a method f on two at once for the loops of loop-vectors.ts, with s on one for those of
// loop-doubles.ts.
import { HostMath } from "./host-math";
import { powScalar } from "./simd-power";

const TWO_OVER_SQRT_PI: f64 = 1.1283791670955126;
const SQRT_PI: f64 = 1.7724538509055159;

// erf x = 2/√π · e^(-x²) · Σ 2^n x^(2n+1) / (2n+1)!! (Abramowitz & Stegun 7.1.6)
function erfSeries(x: f64): f64 {
  let term = x;
  let sum = x;
  for (let n = 1; abs(term) > 1e-18 * abs(sum); n++) {
    term *= (2 * x * x) / <f64>(2 * n + 1);
    sum += term;
  }
  return TWO_OVER_SQRT_PI * HostMath.exp(-x * x) * sum;
}

// √π e^(x²) erfc x as a continued fraction (Abramowitz & Stegun 7.1.14), from the inside out
function erfcFraction(x: f64): f64 {
  if (x > 27) return 0;
  let f = x;
  for (let n = 60; n >= 1; n--) f = x + <f64>n / 2 / f;
  return HostMath.exp(-x * x) / (SQRT_PI * f);
}

function erf64(x: f64): f64 {
  if (x != x) return x;
  const a = abs(x);
  return a < 2.5 ? erfSeries(x) : copysign<f64>(1 - erfcFraction(a), x);
}

/** A rough start (Winitzki's formula), then Halley's steps on erf, or on erfc near the ends. */
function erfinv64(y: f64): f64 {
  const a = abs(y);
  if (!(a < 1)) return a == 1 ? copysign<f64>(Infinity, y) : NaN;
  if (y == 0) return y;
  const l = HostMath.log1p(-a * a);
  const p = 4.330746750799873 + l / 2; // 2 / (0.147 π)
  let x = sqrt<f64>(sqrt<f64>(p * p - l / 0.147) - p);
  for (let i = 0; i < 4; i++) {
    const error = a < 0.9 ? erf64(x) - a : 1 - a - (x < 2.5 ? 1 - erf64(x) : erfcFraction(x));
    const step = error / (TWO_OVER_SQRT_PI * HostMath.exp(-x * x));
    x -= step / (1 + x * step);
  }
  return copysign<f64>(x, y);
}

/** The remainder with the sign of b. */
function remainder64(a: f64, b: f64): f64 {
  const r = a % b;
  return r != 0 && r < 0 != b < 0 ? r + b : r;
}

@final
export class AddD {
  // @ts-ignore: decorator
  @inline
  f(a: v128, b: v128): v128 {
    return f64x2.add(a, b);
  }
}

@final
export class SubD {
  // @ts-ignore: decorator
  @inline
  f(a: v128, b: v128): v128 {
    return f64x2.sub(a, b);
  }
}

@final
export class MulD {
  // @ts-ignore: decorator
  @inline
  f(a: v128, b: v128): v128 {
    return f64x2.mul(a, b);
  }
}

@final
export class DivD {
  // @ts-ignore: decorator
  @inline
  f(a: v128, b: v128): v128 {
    return f64x2.div(a, b);
  }
}

@final
export class MaxD {
  // @ts-ignore: decorator
  @inline
  f(a: v128, b: v128): v128 {
    return f64x2.max(a, b);
  }
}

@final
export class MinD {
  // @ts-ignore: decorator
  @inline
  f(a: v128, b: v128): v128 {
    return f64x2.min(a, b);
  }
}

@final
export class PowD {
  // @ts-ignore: decorator
  @inline
  s(a: f64, b: f64): f64 {
    return powScalar(a, b);
  }
}

@final
export class RemD {
  // @ts-ignore: decorator
  @inline
  s(a: f64, b: f64): f64 {
    return remainder64(a, b);
  }
}

@final
export class Atan2D {
  // @ts-ignore: decorator
  @inline
  s(a: f64, b: f64): f64 {
    return HostMath.atan2(a, b);
  }
}

@final
export class EqD {
  // @ts-ignore: decorator
  @inline
  f(a: v128, b: v128): v128 {
    return f64x2.eq(a, b);
  }
}

@final
export class NeD {
  // @ts-ignore: decorator
  @inline
  f(a: v128, b: v128): v128 {
    return f64x2.ne(a, b);
  }
}

@final
export class LtD {
  // @ts-ignore: decorator
  @inline
  f(a: v128, b: v128): v128 {
    return f64x2.lt(a, b);
  }
}

@final
export class LeD {
  // @ts-ignore: decorator
  @inline
  f(a: v128, b: v128): v128 {
    return f64x2.le(a, b);
  }
}

@final
export class NegD {
  // @ts-ignore: decorator
  @inline
  f(x: v128): v128 {
    return f64x2.neg(x);
  }
}

@final
export class AbsD {
  // @ts-ignore: decorator
  @inline
  f(x: v128): v128 {
    return f64x2.abs(x);
  }
}

@final
export class SignD {
  // @ts-ignore: decorator
  @inline
  s(x: f64): f64 {
    return x > 0 ? 1 : x < 0 ? -1 : x;
  }
}

@final
export class FloorD {
  // @ts-ignore: decorator
  @inline
  f(x: v128): v128 {
    return f64x2.floor(x);
  }
}

@final
export class CeilD {
  // @ts-ignore: decorator
  @inline
  f(x: v128): v128 {
    return f64x2.ceil(x);
  }
}

@final
export class TruncD {
  // @ts-ignore: decorator
  @inline
  f(x: v128): v128 {
    return f64x2.trunc(x);
  }
}

@final
export class RoundD {
  // @ts-ignore: decorator
  @inline
  f(x: v128): v128 {
    return f64x2.nearest(x);
  }
}

@final
export class SqrtD {
  // @ts-ignore: decorator
  @inline
  f(x: v128): v128 {
    return f64x2.sqrt(x);
  }
}

@final
export class RsqrtD {
  // @ts-ignore: decorator
  @inline
  f(x: v128): v128 {
    return f64x2.div(f64x2.splat(1), f64x2.sqrt(x));
  }
}

@final
export class RecipD {
  // @ts-ignore: decorator
  @inline
  f(x: v128): v128 {
    return f64x2.div(f64x2.splat(1), x);
  }
}

@final
export class SigmoidD {
  // @ts-ignore: decorator
  @inline
  s(x: f64): f64 {
    return 1 / (1 + HostMath.exp(-x));
  }
}

@final
export class ErfD {
  // @ts-ignore: decorator
  @inline
  s(x: f64): f64 {
    return erf64(x);
  }
}

@final
export class ErfinvD {
  // @ts-ignore: decorator
  @inline
  s(x: f64): f64 {
    return erfinv64(x);
  }
}

@final
export class ExpD {
  // @ts-ignore: decorator
  @inline
  s(x: f64): f64 {
    return HostMath.exp(x);
  }
}

@final
export class Expm1D {
  // @ts-ignore: decorator
  @inline
  s(x: f64): f64 {
    return HostMath.expm1(x);
  }
}

@final
export class LogD {
  // @ts-ignore: decorator
  @inline
  s(x: f64): f64 {
    return HostMath.log(x);
  }
}

@final
export class Log1pD {
  // @ts-ignore: decorator
  @inline
  s(x: f64): f64 {
    return HostMath.log1p(x);
  }
}

@final
export class SinD {
  // @ts-ignore: decorator
  @inline
  s(x: f64): f64 {
    return HostMath.sin(x);
  }
}

@final
export class CosD {
  // @ts-ignore: decorator
  @inline
  s(x: f64): f64 {
    return HostMath.cos(x);
  }
}

@final
export class TanD {
  // @ts-ignore: decorator
  @inline
  s(x: f64): f64 {
    return HostMath.tan(x);
  }
}

@final
export class AsinD {
  // @ts-ignore: decorator
  @inline
  s(x: f64): f64 {
    return HostMath.asin(x);
  }
}

@final
export class AcosD {
  // @ts-ignore: decorator
  @inline
  s(x: f64): f64 {
    return HostMath.acos(x);
  }
}

@final
export class AtanD {
  // @ts-ignore: decorator
  @inline
  s(x: f64): f64 {
    return HostMath.atan(x);
  }
}

@final
export class SinhD {
  // @ts-ignore: decorator
  @inline
  s(x: f64): f64 {
    return HostMath.sinh(x);
  }
}

@final
export class CoshD {
  // @ts-ignore: decorator
  @inline
  s(x: f64): f64 {
    return HostMath.cosh(x);
  }
}

@final
export class TanhD {
  // @ts-ignore: decorator
  @inline
  s(x: f64): f64 {
    return HostMath.tanh(x);
  }
}
