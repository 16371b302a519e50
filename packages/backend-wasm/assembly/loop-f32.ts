// Operations on vectors of four f32, each a class for the loops of loop-vectors.ts.
import { madd } from "./simd";
import { acos4, asin4, atan4, atan24, cosh4, remainder4, sinh4 } from "./simd-inverse";
import { erf4, erfinv4, exp4, expm1x4, log1px4, log4, sigmoid4, tanh4 } from "./simd-math";
import { pow4 } from "./simd-power";
import { cos4, sin4, tan4 } from "./simd-trig";

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
export class MaddF {
  // @ts-ignore: decorator
  @inline
  f(a: v128, b: v128, c: v128): v128 {
    return madd(a, b, c);
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
