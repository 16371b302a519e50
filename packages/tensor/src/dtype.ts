import { DTypeError } from "./errors.js";

/** The storage types. Arithmetic on f16 and bf16 is done in f32 and rounded when stored. */
export type DType = "f32" | "f16" | "bf16" | "f64" | "i32" | "u32" | "i8" | "u8" | "bool";

/** Host arrays that hold the numbers of a tensor: f16 and bf16 as their 16-bit patterns, bool as 0 and 1. */
export type HostArray =
  | Float32Array
  | Float64Array
  | Int32Array
  | Uint32Array
  | Int8Array
  | Uint8Array
  | Uint16Array;

interface DTypeInfo {
  bytes: number;
  float: boolean;
  /** Place in the promotion order. */
  rank: number;
  id: number;
  array: new (
    source: number | ArrayLike<number> | ArrayBufferLike,
    offset?: number,
    length?: number,
  ) => HostArray;
}

const info = (bytes: number, float: boolean, rank: number, id: number, array: unknown): DTypeInfo => ({
  bytes,
  float,
  rank,
  id,
  array: array as DTypeInfo["array"],
});

const TABLE: Record<DType, DTypeInfo> = {
  bool: /* @__PURE__ */ info(1, false, 0, 0, Uint8Array),
  u8: /* @__PURE__ */ info(1, false, 1, 1, Uint8Array),
  i8: /* @__PURE__ */ info(1, false, 1, 2, Int8Array),
  u32: /* @__PURE__ */ info(4, false, 2, 3, Uint32Array),
  i32: /* @__PURE__ */ info(4, false, 3, 4, Int32Array),
  bf16: /* @__PURE__ */ info(2, true, 4, 5, Uint16Array),
  f16: /* @__PURE__ */ info(2, true, 4, 6, Uint16Array),
  f32: /* @__PURE__ */ info(4, true, 5, 7, Float32Array),
  f64: /* @__PURE__ */ info(8, true, 6, 8, Float64Array),
};

/** All dtypes, the narrowest first. */
export const DTYPES = /* @__PURE__ */ Object.keys(TABLE) as readonly DType[];

export const dtypeBytes = (dtype: DType): number => TABLE[dtype].bytes;
export const dtypeId = (dtype: DType): number => TABLE[dtype].id;
export const isFloat = (dtype: DType): boolean => TABLE[dtype].float;
export const isDType = (name: unknown): name is DType =>
  typeof name === "string" && Object.hasOwn(TABLE, name);

/** A zeroed host array for `size` numbers of `dtype`. */
export const hostArray = (dtype: DType, size: number): HostArray => new TABLE[dtype].array(size);

/** A host view of `size` numbers of `dtype` in a buffer, from a byte offset. */
export const hostView = (
  dtype: DType,
  buffer: ArrayBufferLike,
  byteOffset: number,
  size: number,
): HostArray => new TABLE[dtype].array(buffer, byteOffset, size);

/**
 * The dtype of a result of two operands: the wider one; f16 with bf16 gives f32, i8 with u8 gives i32, u32 with i32
 * gives i32. A float absorbs any integer.
 */
export function promote(a: DType, b: DType): DType {
  if (a === b) return a;
  const [x, y] = [TABLE[a], TABLE[b]];
  if (x.rank === y.rank) return x.float ? "f32" : "i32";
  return x.rank > y.rank ? a : b;
}

export function expectFloat(where: string, name: string, dtype: DType): void {
  if (!isFloat(dtype)) {
    throw new DTypeError({
      where,
      expected: `${name} of a float dtype`,
      got: dtype,
      hint: 'cast with .astype("f32")',
    });
  }
}

const scratch = /* @__PURE__ */ new DataView(/* @__PURE__ */ new ArrayBuffer(4));

/** The f32 nearest above or below is cut to its upper 16 bits, ties to even; NaN stays NaN. */
export function toBf16Bits(value: number): number {
  scratch.setFloat32(0, value);
  const bits = scratch.getUint32(0);
  if ((bits & 0x7fffffff) > 0x7f800000) return ((bits >>> 16) | 0x40) & 0xffff;
  return ((bits + 0x7fff + ((bits >>> 16) & 1)) >>> 16) & 0xffff;
}

export function fromBf16Bits(bits: number): number {
  scratch.setUint32(0, (bits & 0xffff) << 16);
  return scratch.getFloat32(0);
}

/** IEEE half precision, rounded to nearest, ties to even, with subnormals; overflow gives infinity. */
export function toF16Bits(value: number): number {
  scratch.setFloat32(0, value);
  const bits = scratch.getUint32(0);
  const sign = (bits >>> 16) & 0x8000;
  const abs = bits & 0x7fffffff;
  if (abs > 0x7f800000) return sign | 0x7e00 | ((abs >>> 13) & 0x1ff);
  if (abs >= 0x477ff000) return sign | 0x7c00; // rounds to infinity
  if (abs < 0x38800000) {
    // subnormal: an f32 from ½ to 1 has the steps of these, so that adding ½ rounds at the right place
    scratch.setFloat32(0, Math.abs(scratch.getFloat32(0)) + 0.5);
    return sign | (scratch.getUint32(0) - 0x3f000000);
  }
  const rounded = abs - 0x38000000 + 0xfff + ((abs >>> 13) & 1);
  return sign | (rounded >>> 13);
}

export function fromF16Bits(bits: number): number {
  const sign = bits & 0x8000 ? -1 : 1;
  const exponent = (bits >>> 10) & 0x1f;
  const mantissa = bits & 0x3ff;
  if (exponent === 0) return sign * mantissa * 2 ** -24;
  if (exponent === 31) return mantissa ? Number.NaN : sign * Number.POSITIVE_INFINITY;
  return sign * (1 + mantissa / 1024) * 2 ** (exponent - 15);
}

/** The value that storage as `dtype` keeps of `value` (integers wrap, floats round, bool is 0 or 1). */
export function roundTo(dtype: DType, value: number): number {
  switch (dtype) {
    case "f64":
      return value;
    case "f32":
      return Math.fround(value);
    case "f16":
      return fromF16Bits(toF16Bits(value));
    case "bf16":
      return fromBf16Bits(toBf16Bits(value));
    case "i32":
      return clampInteger(value, -2147483648, 2147483647) | 0;
    case "u32":
      return value < 0 && value >= -2147483648 ? value >>> 0 : clampInteger(value, 0, 4294967295) >>> 0;
    case "i8":
      return clampInteger(value, -128, 127);
    case "u8":
      return clampInteger(value, 0, 255);
    case "bool":
      return value ? 1 : 0;
  }
}

/** Floats turn into integers by truncation and saturate at the ends; NaN gives 0. */
function clampInteger(value: number, low: number, high: number): number {
  if (!(value > low)) return value <= low ? low : 0;
  return value >= high ? high : Math.trunc(value) + 0;
}

/** Writes numbers into a host array of `dtype`, each rounded as storage does. */
export function encodeHost(dtype: DType, values: ArrayLike<number>): HostArray {
  const out = hostArray(dtype, values.length);
  if (dtype === "f16") for (let i = 0; i < values.length; i++) out[i] = toF16Bits(values[i]!);
  else if (dtype === "bf16") for (let i = 0; i < values.length; i++) out[i] = toBf16Bits(values[i]!);
  else if (dtype === "f32" || dtype === "f64") out.set(values);
  else for (let i = 0; i < values.length; i++) out[i] = roundTo(dtype, values[i]!);
  return out;
}

/** Reads a host array of `dtype` as plain numbers. */
export function decodeHost(dtype: DType, array: HostArray): Float64Array {
  const out = new Float64Array(array.length);
  if (dtype === "f16") for (let i = 0; i < out.length; i++) out[i] = fromF16Bits(array[i]!);
  else if (dtype === "bf16") for (let i = 0; i < out.length; i++) out[i] = fromBf16Bits(array[i]!);
  else out.set(array);
  return out;
}
