const FLOAT = /* @__PURE__ */ new Float32Array(1);
const BITS = /* @__PURE__ */ new Uint32Array(FLOAT.buffer);

/** The bits of the f32 that equals a half-precision number. */
export function halfToFloatBits(half: number): number {
  const sign = (half & 0x8000) << 16;
  const exponent = (half >> 10) & 31;
  const mantissa = half & 0x3ff;
  if (exponent === 31) return (sign | 0x7f800000 | (mantissa << 13)) >>> 0;
  if (exponent > 0) return (sign | ((exponent + 112) << 23) | (mantissa << 13)) >>> 0;
  FLOAT[0] = mantissa * 2 ** -24; // below the normal numbers of half precision, a normal one here
  return (sign | BITS[0]!) >>> 0;
}

/** A half-precision number. */
export function halfToNumber(half: number): number {
  BITS[0] = halfToFloatBits(half);
  return FLOAT[0]!;
}

/** The bits of the half-precision number nearest to an f32, ties to even, as IEEE 754 and NumPy round. */
export function numberToHalf(value: number): number {
  FLOAT[0] = value;
  const bits = BITS[0]!;
  const sign = (bits >>> 16) & 0x8000;
  const size = bits & 0x7fffffff;
  if (size > 0x7f800000) return sign | 0x7e00; // NaN
  if (size >= 0x477ff000) return sign | 0x7c00; // from 65520 on, the middle between the largest and 2^16
  if (size < 0x38800000) {
    // Below 2^-14 numbers are multiples of 2^-24: adding 2^-1 rounds to that, as 2^-24 is the last place there.
    FLOAT[0] = Math.abs(value) + 0.5;
    return sign | (BITS[0]! - 0x3f000000);
  }
  const odd = (size >>> 13) & 1;
  return sign | ((size - 0x38000000 + 0xfff + odd) >>> 13);
}

/** The bits of the bfloat16 nearest to an f32, ties to even; a NaN stays one. */
export function numberToBfloat(value: number): number {
  FLOAT[0] = value;
  const bits = BITS[0]!;
  if ((bits & 0x7fffffff) > 0x7f800000) return (bits >>> 16) | 64;
  return (bits + 0x7fff + ((bits >>> 16) & 1)) >>> 16;
}
