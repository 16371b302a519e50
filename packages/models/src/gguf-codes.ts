import { BLOCK_TYPES, type BlockTypeName, newBlock } from "./gguf-blocks.js";

/** A matrix [out, in] as the core's `quantizedMatmul` takes it. */
export interface GgufCodes {
  readonly bits: 4 | 8;
  readonly groupSize: number;
  /** [out, in] as Int8Array, or two of 4 bits in a byte, [out, in / 2]. */
  readonly codes: Int8Array<ArrayBuffer> | Uint8Array<ArrayBuffer>;
  /** One a group; half-precision bits in a Uint16Array where the file has them, else f32. */
  readonly scales: Uint16Array<ArrayBuffer> | Float32Array<ArrayBuffer>;
  readonly mins: Float32Array<ArrayBuffer> | null;
}

/** Where the core's codes of 4 bits have their zero. */
const MIDDLE = 8;

/**
 * The blocks of a matrix as planes of codes, scales and mins. Nothing is rounded but the mins of codes of 4 bits, which
 * begin at −8 here: min + 8 · scale in f32.
 */
export function ggufCodes(type: BlockTypeName, bytes: Uint8Array): GgufCodes {
  const { elements, bytes: blockBytes, group, bits, hasMins, halfScale, unpack } = BLOCK_TYPES[type];
  const blocks = bytes.length / blockBytes;
  const groups = elements / group;
  const size = blocks * elements;
  const codes = bits === 8 ? new Int8Array(size) : new Uint8Array(size / 2);
  const scales = halfScale ? new Uint16Array(blocks) : new Float32Array(blocks * groups);
  const mins = hasMins ? new Float32Array(blocks * groups) : null;
  const block = newBlock();
  const shift = hasMins ? 0 : MIDDLE; // with mins q is from 0 to 15 already
  for (let b = 0; b < blocks; b++) {
    const at = b * blockBytes;
    unpack(bytes, at, block);
    const { q } = block;
    if (bits === 8) (codes as Int8Array).set(elements === 256 ? q : q.subarray(0, elements), b * elements);
    else {
      const to = (b * elements) / 2;
      for (let j = 0; j < elements; j += 2) {
        codes[to + j / 2] = (q[j]! + shift) | ((q[j + 1]! + shift) << 4);
      }
    }
    if (halfScale) scales[b] = bytes[at]! | (bytes[at + 1]! << 8);
    else for (let g = 0; g < groups; g++) scales[b * groups + g] = block.scales[g]!;
    if (mins === null) continue;
    for (let g = 0; g < groups; g++) {
      const min = block.mins[g]!;
      mins[b * groups + g] = bits === 4 ? min + MIDDLE * block.scales[g]! : min;
    }
  }
  return { bits, groupSize: group, codes, scales, mins };
}
