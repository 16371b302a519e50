/** Of each tensor type that a file can hold: its number, the elements of a block and the bytes of one. */
export const GGUF_TENSOR_TYPES = {
  F32: [0, 1, 4],
  F16: [1, 1, 2],
  Q4_0: [2, 32, 18],
  Q4_1: [3, 32, 20],
  Q5_0: [6, 32, 22],
  Q5_1: [7, 32, 24],
  Q8_0: [8, 32, 34],
  Q2_K: [10, 256, 84],
  Q3_K: [11, 256, 110],
  Q4_K: [12, 256, 144],
  Q5_K: [13, 256, 176],
  Q6_K: [14, 256, 210],
  IQ2_XXS: [16, 256, 66],
  IQ2_XS: [17, 256, 74],
  IQ3_XXS: [18, 256, 98],
  IQ1_S: [19, 256, 50],
  IQ4_NL: [20, 32, 18],
  IQ3_S: [21, 256, 110],
  IQ2_S: [22, 256, 82],
  IQ4_XS: [23, 256, 136],
  I8: [24, 1, 1],
  I16: [25, 1, 2],
  I32: [26, 1, 4],
  I64: [27, 1, 8],
  F64: [28, 1, 8],
  IQ1_M: [29, 256, 56],
  BF16: [30, 1, 2],
  TQ1_0: [34, 256, 54],
  TQ2_0: [35, 256, 66],
  MXFP4: [39, 32, 17],
} as const satisfies Record<string, readonly [id: number, elements: number, bytes: number]>;

/** Name of a tensor type. */
export type GgufTensorType = keyof typeof GGUF_TENSOR_TYPES;

/** Numbers of the types of metadata, by name. */
export const GGUF_VALUE_TYPES = {
  u8: 0,
  i8: 1,
  u16: 2,
  i16: 3,
  u32: 4,
  i32: 5,
  f32: 6,
  bool: 7,
  string: 8,
  array: 9,
  u64: 10,
  i64: 11,
  f64: 12,
} as const;

type NumberType = "u8" | "i8" | "u16" | "i16" | "u32" | "i32" | "f32" | "f64";

/** A type that values and elements of arrays can have. */
export type GgufScalarType = Exclude<keyof typeof GGUF_VALUE_TYPES, "array">;

/** A value of the metadata with its type, so that it can be written again. Whole numbers of 64 bits are bigints. */
export type GgufValue =
  | { readonly type: NumberType; readonly value: number }
  | { readonly type: "u64" | "i64"; readonly value: bigint }
  | { readonly type: "bool"; readonly value: boolean }
  | { readonly type: "string"; readonly value: string }
  | GgufArray;

/** An array of the metadata, all of one type. */
export type GgufArray =
  | { readonly type: "array"; readonly of: NumberType; readonly value: ArrayLike<number> }
  | { readonly type: "array"; readonly of: "u64" | "i64"; readonly value: ArrayLike<bigint> }
  | { readonly type: "array"; readonly of: "bool"; readonly value: readonly boolean[] }
  | { readonly type: "array"; readonly of: "string"; readonly value: readonly string[] };

/** Bytes of one value; a string has at least its length. */
export const SCALAR_BYTES: Readonly<Record<GgufScalarType, number>> = {
  u8: 1,
  i8: 1,
  u16: 2,
  i16: 2,
  u32: 4,
  i32: 4,
  f32: 4,
  bool: 1,
  string: 8,
  u64: 8,
  i64: 8,
  f64: 8,
};

/** "GGUF" as a little-endian number. */
export const GGUF_MAGIC = 0x46554747;
export const DEFAULT_ALIGNMENT = 32;
export const ALIGNMENT_KEY = "general.alignment";
/** ggml keeps a name in 64 bytes with a zero at its end. */
export const MAX_NAME_BYTES = 63;
/** Most dimensions of a tensor of ggml. */
export const MAX_DIMENSIONS = 4;
export const MAX_KEY_BYTES = 65_535;

/** The next multiple of a power of two. */
export const alignUp = (offset: number, alignment: number): number =>
  Math.ceil(offset / alignment) * alignment;

/** A tensor type by its number. */
export function tensorTypeOf(id: number): GgufTensorType | undefined {
  const entries = Object.entries(GGUF_TENSOR_TYPES) as [GgufTensorType, readonly number[]][];
  return entries.find(([, [number]]) => number === id)?.[0];
}

/**
 * Bytes of a tensor of shape [..., in], or undefined where `in` is no multiple of the block or a number is beyond 2⁵³ − 1.
 */
export function ggufSizeBytes(type: GgufTensorType, shape: readonly number[]): number | undefined {
  const [, elements, bytes] = GGUF_TENSOR_TYPES[type];
  if ((shape.at(-1) ?? 1) % elements !== 0) return undefined;
  let count = 1;
  for (const size of shape) {
    count *= size; // both below 2⁵³: a product that is not exact is above 2⁵³ too
    if (!Number.isSafeInteger(count)) return undefined;
  }
  const total = (count / elements) * bytes;
  return Number.isSafeInteger(total) ? total : undefined;
}
