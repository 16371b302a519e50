import { DTypeError } from "@lowrank/tensor";
import { BLOCK_TYPES, type BlockTypeName, isBlockType, newBlock } from "./gguf-blocks.js";
import { halfToFloatBits } from "./gguf-half.js";
import type { GgufTensorType } from "./gguf-types.js";
import { typedArray } from "./safetensors-dtype.js";

/** The types that {@link dequantizeGguf} reads. */
export const READABLE_TYPES: readonly GgufTensorType[] = [
  "F32",
  "F16",
  "BF16",
  "F64",
  .../* @__PURE__ */ (Object.keys(BLOCK_TYPES) as BlockTypeName[]),
];

/**
 * The numbers of a tensor in f32: w = scale · q + min for types in blocks, each operation rounded to f32, so that the
 * result has the bits that the `gguf` package of Python gives.
 *
 * @throws DTypeError for a type that is not read.
 */
export function dequantizeGguf(
  type: GgufTensorType,
  bytes: Uint8Array,
  where = "dequantizeGguf",
): Float32Array<ArrayBuffer> {
  if (isBlockType(type)) return dequantizeBlocks(type, bytes);
  switch (type) {
    case "F32":
      return (typedArray("F32", bytes) as Float32Array<ArrayBuffer>).slice();
    case "F64":
      return Float32Array.from(typedArray("F64", bytes) as Float64Array);
    case "F16":
    case "BF16": {
      const stored = typedArray(type, bytes) as Uint16Array;
      const bits = new Uint32Array(stored.length);
      if (type === "F16") for (let i = 0; i < bits.length; i++) bits[i] = halfToFloatBits(stored[i]!);
      else for (let i = 0; i < bits.length; i++) bits[i] = stored[i]! << 16;
      return new Float32Array(bits.buffer);
    }
    default:
      throw new DTypeError({
        where,
        expected: `one of the types ${READABLE_TYPES.join(", ")}`,
        got: type,
        hint: "quantize the model to one of these, for example with llama-quantize",
      });
  }
}

function dequantizeBlocks(type: BlockTypeName, bytes: Uint8Array): Float32Array<ArrayBuffer> {
  const { elements, bytes: blockBytes, group, hasMins, unpack } = BLOCK_TYPES[type];
  const count = bytes.length / blockBytes;
  const out = new Float32Array(count * elements);
  const block = newBlock();
  const { q, scales, mins } = block;
  for (let b = 0; b < count; b++) {
    unpack(bytes, b * blockBytes, block);
    const to = b * elements;
    for (let i = 0; i < elements; i += group) {
      const scale = scales[i / group]!;
      const min = mins[i / group]!;
      if (hasMins) for (let j = i; j < i + group; j++) out[to + j] = Math.fround(scale * q[j]!) + min;
      else for (let j = i; j < i + group; j++) out[to + j] = scale * q[j]!;
    }
  }
  return out;
}
