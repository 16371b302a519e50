// Conversions between registers of 32 bits, and selection by masks, for the loops of loop-vectors.ts.
import { f32x4ToF16, f16x4ToF32, f32x4ToBf16 } from "./half";

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
export class Where {
  // @ts-ignore: decorator
  @inline
  f(a: v128, b: v128, c: v128): v128 {
    return v128.bitselect(b, c, a);
  }
}
