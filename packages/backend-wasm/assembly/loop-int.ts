// Operations on vectors of four 32-bit integers; bools in registers are masks. Loops are those of loop-vectors.ts.

@final
export class AddI {
  // @ts-ignore: decorator
  @inline
  f(a: v128, b: v128): v128 {
    return i32x4.add(a, b);
  }
}

@final
export class SubI {
  // @ts-ignore: decorator
  @inline
  f(a: v128, b: v128): v128 {
    return i32x4.sub(a, b);
  }
}

@final
export class MulI {
  // @ts-ignore: decorator
  @inline
  f(a: v128, b: v128): v128 {
    return i32x4.mul(a, b);
  }
}

@final
export class MaxI {
  // @ts-ignore: decorator
  @inline
  f(a: v128, b: v128): v128 {
    return i32x4.max_s(a, b);
  }
}

@final
export class MinI {
  // @ts-ignore: decorator
  @inline
  f(a: v128, b: v128): v128 {
    return i32x4.min_s(a, b);
  }
}

@final
export class MaxU {
  // @ts-ignore: decorator
  @inline
  f(a: v128, b: v128): v128 {
    return i32x4.max_u(a, b);
  }
}

@final
export class MinU {
  // @ts-ignore: decorator
  @inline
  f(a: v128, b: v128): v128 {
    return i32x4.min_u(a, b);
  }
}

@final
export class EqI {
  // @ts-ignore: decorator
  @inline
  f(a: v128, b: v128): v128 {
    return i32x4.eq(a, b);
  }
}

@final
export class NeI {
  // @ts-ignore: decorator
  @inline
  f(a: v128, b: v128): v128 {
    return i32x4.ne(a, b);
  }
}

@final
export class LtI {
  // @ts-ignore: decorator
  @inline
  f(a: v128, b: v128): v128 {
    return i32x4.lt_s(a, b);
  }
}

@final
export class LeI {
  // @ts-ignore: decorator
  @inline
  f(a: v128, b: v128): v128 {
    return i32x4.le_s(a, b);
  }
}

@final
export class LtU {
  // @ts-ignore: decorator
  @inline
  f(a: v128, b: v128): v128 {
    return i32x4.lt_u(a, b);
  }
}

@final
export class LeU {
  // @ts-ignore: decorator
  @inline
  f(a: v128, b: v128): v128 {
    return i32x4.le_u(a, b);
  }
}

@final
export class And {
  // @ts-ignore: decorator
  @inline
  f(a: v128, b: v128): v128 {
    return v128.and(a, b);
  }
}

@final
export class Or {
  // @ts-ignore: decorator
  @inline
  f(a: v128, b: v128): v128 {
    return v128.or(a, b);
  }
}

@final
export class Xor {
  // @ts-ignore: decorator
  @inline
  f(a: v128, b: v128): v128 {
    return v128.xor(a, b);
  }
}

@final
export class NegI {
  // @ts-ignore: decorator
  @inline
  f(a: v128): v128 {
    return i32x4.neg(a);
  }
}

@final
export class AbsI {
  // @ts-ignore: decorator
  @inline
  f(a: v128): v128 {
    return i32x4.abs(a);
  }
}

@final
export class SignI {
  // @ts-ignore: decorator
  @inline
  f(a: v128): v128 {
    return i32x4.max_s(i32x4.min_s(a, i32x4.splat(1)), i32x4.splat(-1));
  }
}

@final
export class SignU {
  // @ts-ignore: decorator
  @inline
  f(a: v128): v128 {
    return i32x4.min_u(a, i32x4.splat(1));
  }
}

@final
export class Not {
  // @ts-ignore: decorator
  @inline
  f(a: v128): v128 {
    return v128.not(a);
  }
}

@final
export class Wrap8I {
  // @ts-ignore: decorator
  @inline
  f(a: v128): v128 {
    return i32x4.shr_s(i32x4.shl(a, 24), 24);
  }
}

@final
export class Wrap8U {
  // @ts-ignore: decorator
  @inline
  f(a: v128): v128 {
    return v128.and(a, i32x4.splat(255));
  }
}

@final
export class Clamp8I {
  // @ts-ignore: decorator
  @inline
  f(a: v128): v128 {
    return i32x4.max_s(i32x4.min_s(a, i32x4.splat(127)), i32x4.splat(-128));
  }
}

@final
export class Clamp8U {
  // @ts-ignore: decorator
  @inline
  f(a: v128): v128 {
    return i32x4.max_s(i32x4.min_s(a, i32x4.splat(255)), i32x4.splat(0));
  }
}

@final
export class BtoI {
  // @ts-ignore: decorator
  @inline
  f(a: v128): v128 {
    return v128.and(a, i32x4.splat(1));
  }
}

@final
export class DivI {
  // @ts-ignore: decorator
  @inline
  s(a: i32, b: i32): i32 {
    if (b == 0) return 0;
    return b == -1 ? 0 - a : a / b;
  }
}

@final
export class DivU {
  // @ts-ignore: decorator
  @inline
  s(a: i32, b: i32): i32 {
    return b == 0 ? 0 : <i32>(<u32>a / <u32>b);
  }
}

@final
export class RemI {
  // @ts-ignore: decorator
  @inline
  s(a: i32, b: i32): i32 {
    if (b == 0 || b == -1) return 0;
    const r = a % b;
    return r != 0 && (r ^ b) < 0 ? r + b : r;
  }
}

@final
export class RemU {
  // @ts-ignore: decorator
  @inline
  s(a: i32, b: i32): i32 {
    return b == 0 ? 0 : <i32>(<u32>a % <u32>b);
  }
}

@final
export class Shl {
  // @ts-ignore: decorator
  @inline
  s(a: i32, b: i32): i32 {
    return a << b;
  }
}

@final
export class ShrI {
  // @ts-ignore: decorator
  @inline
  s(a: i32, b: i32): i32 {
    return a >> b;
  }
}

@final
export class ShrU {
  // @ts-ignore: decorator
  @inline
  s(a: i32, b: i32): i32 {
    return <i32>(<u32>a >> b);
  }
}

/** d = f(a, b) lane by lane. */
export function integerLanes<T>(d: usize, a: usize, sa: usize, b: usize, sb: usize, end: usize): void {
  const t = changetype<T>(<usize>0);
  do {
    for (let i: usize = 0; i < 16; i += 4) store<i32>(d + i, t.s(load<i32>(a + i), load<i32>(b + i)));
    a += sa;
    b += sb;
    d += 16;
  } while (d < end);
}

/** Shifts by one count, where it is the same for all; otherwise lane by lane. */
export function shift<T>(kind: i32, d: usize, a: usize, sa: usize, b: usize, sb: usize, end: usize): void {
  if (sb != 0) return integerLanes<T>(d, a, sa, b, sb, end);
  const count = load<i32>(b);
  do {
    const x = v128.load(a);
    v128.store(d, kind == 0 ? i32x4.shl(x, count) : kind == 1 ? i32x4.shr_s(x, count) : i32x4.shr_u(x, count));
    a += sa;
    d += 16;
  } while (d < end);
}
