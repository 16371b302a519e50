/**
 * Element types of the safetensors format with their size in bits, in the order in which the reference writer lays
 * tensors out (later ones first, so that the widest come first and every tensor is aligned).
 */
export const SAFETENSORS_BITS = {
  BOOL: 8,
  F4: 4,
  F6_E2M3: 6,
  F6_E3M2: 6,
  U8: 8,
  I8: 8,
  F8_E5M2: 8,
  F8_E4M3: 8,
  F8_E8M0: 8,
  F8_E4M3FNUZ: 8,
  F8_E5M2FNUZ: 8,
  I16: 16,
  U16: 16,
  F16: 16,
  BF16: 16,
  I32: 32,
  U32: 32,
  F32: 32,
  C64: 64,
  F64: 64,
  I64: 64,
  U64: 64,
} as const;

/** Name of an element type as the file spells it. */
export type SafetensorsDType = keyof typeof SAFETENSORS_BITS;

/** What {@link typedArray} gives. */
export type TensorArray =
  | Float64Array<ArrayBuffer>
  | Float32Array<ArrayBuffer>
  | Int32Array<ArrayBuffer>
  | Uint32Array<ArrayBuffer>
  | Int16Array<ArrayBuffer>
  | Uint16Array<ArrayBuffer>
  | Int8Array<ArrayBuffer>
  | Uint8Array<ArrayBuffer>
  | BigInt64Array<ArrayBuffer>
  | BigUint64Array<ArrayBuffer>;

/** Rank of a type in the reference writer's layout. */
export const layoutRank = (dtype: SafetensorsDType): number => LAYOUT.indexOf(dtype);

const LAYOUT = /* @__PURE__ */ Object.keys(SAFETENSORS_BITS) as SafetensorsDType[];

/** True for a type name that the format knows. */
export function isSafetensorsDType(name: unknown): name is SafetensorsDType {
  return typeof name === "string" && LAYOUT.includes(name as SafetensorsDType);
}

/**
 * Size of a tensor in bytes, or undefined where a dimension or the product is beyond 2⁵³ - 1 bits, or the last byte is
 * not full (possible with types below eight bits). Never rounds: the product is taken in big integers.
 */
export function tensorSizeBytes(dtype: SafetensorsDType, shape: readonly number[]): number | undefined {
  let bits = BigInt(SAFETENSORS_BITS[dtype]);
  for (const size of shape) {
    if (!Number.isSafeInteger(size) || size < 0) return undefined;
    bits *= BigInt(size);
    // A zero among the dimensions makes the product zero however large the others are.
    if (bits > BigInt(Number.MAX_SAFE_INTEGER) && !shape.includes(0)) return undefined;
  }
  return bits % 8n === 0n ? Number(bits / 8n) : undefined;
}

/**
 * Bytes as numbers: F32 as Float32Array and so on, copied if they are not aligned. F16, BF16 come as their bits in a
 * Uint16Array, BOOL and the types of eight bits and fewer as bytes, C64 as pairs in a Float32Array. The format is
 * little-endian, and so is every host that runs JavaScript engines with WebAssembly.
 */
export function typedArray(dtype: SafetensorsDType, bytes: Uint8Array): TensorArray {
  const width = dtype === "C64" ? 4 : Math.max(1, SAFETENSORS_BITS[dtype] / 8);
  // A view where it is aligned and over a plain buffer, a copy else.
  const shared = bytes.buffer instanceof ArrayBuffer && bytes.byteOffset % width === 0;
  const buffer = shared ? (bytes.buffer as ArrayBuffer) : new Uint8Array(bytes).buffer; // slice() of a Buffer is a view
  const offset = shared ? bytes.byteOffset : 0;
  const count = Math.floor(bytes.byteLength / width);
  switch (dtype) {
    case "F64":
      return new Float64Array(buffer, offset, count);
    case "F32":
    case "C64":
      return new Float32Array(buffer, offset, count);
    case "I64":
      return new BigInt64Array(buffer, offset, count);
    case "U64":
      return new BigUint64Array(buffer, offset, count);
    case "I32":
      return new Int32Array(buffer, offset, count);
    case "U32":
      return new Uint32Array(buffer, offset, count);
    case "I16":
      return new Int16Array(buffer, offset, count);
    case "U16":
    case "F16":
    case "BF16":
      return new Uint16Array(buffer, offset, count);
    case "I8":
      return new Int8Array(buffer, offset, count);
    default:
      return new Uint8Array(buffer, offset, bytes.byteLength);
  }
}
