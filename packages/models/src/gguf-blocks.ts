import { halfToNumber } from "./gguf-half.js";

/** Room for what one block holds: w = scale · q + min, scale and min of each group. */
export interface Block {
  readonly q: Int8Array;
  readonly scales: Float32Array;
  /** Zero in types without. */
  readonly mins: Float32Array;
}

export interface BlockType {
  /** Elements of a block. */
  readonly elements: number;
  readonly bytes: number;
  /** Elements that share a scale. */
  readonly group: number;
  /** Bits that the numbers q need when they are kept. */
  readonly bits: 4 | 8;
  readonly hasMins: boolean;
  /** Whether a block begins with the scale of its only group, in half precision. */
  readonly halfScale: boolean;
  /** Takes the block at byte `at` apart. */
  unpack(bytes: Uint8Array, at: number, block: Block): void;
}

const half = (bytes: Uint8Array, at: number): number => halfToNumber(bytes[at]! | (bytes[at + 1]! << 8));

/** The low halves of 16 bytes are elements 0 to 15, the high ones 16 to 31. */
function nibbles(bytes: Uint8Array, at: number, q: Int8Array, zero: number): void {
  for (let j = 0; j < 16; j++) {
    const byte = bytes[at + j]!;
    q[j] = (byte & 15) - zero;
    q[j + 16] = (byte >> 4) - zero;
  }
}

/** Four bytes hold the fifth bits of 32 elements. */
function fifthBits(bytes: Uint8Array, at: number, q: Int8Array): void {
  for (let j = 0; j < 32; j++) q[j] = q[j]! + (((bytes[at + (j >> 3)]! >> (j & 7)) & 1) << 4);
}

const small = { elements: 32, group: 32, halfScale: true } as const;

// d f16 · 16 bytes of nibbles: w = d (q − 8)
const Q4_0: BlockType = {
  ...small,
  bytes: 18,
  bits: 4,
  hasMins: false,
  unpack(bytes, at, { q, scales }) {
    scales[0] = half(bytes, at);
    nibbles(bytes, at + 2, q, 8);
  },
};

// d f16 · m f16 · 16 bytes of nibbles: w = d q + m
const Q4_1: BlockType = {
  ...small,
  bytes: 20,
  bits: 4,
  hasMins: true,
  unpack(bytes, at, { q, scales, mins }) {
    scales[0] = half(bytes, at);
    mins[0] = half(bytes, at + 2);
    nibbles(bytes, at + 4, q, 0);
  },
};

// d f16 · 4 bytes of fifth bits · 16 bytes of nibbles: w = d (q − 16)
const Q5_0: BlockType = {
  ...small,
  bytes: 22,
  bits: 8,
  hasMins: false,
  unpack(bytes, at, { q, scales }) {
    scales[0] = half(bytes, at);
    nibbles(bytes, at + 6, q, 16);
    fifthBits(bytes, at + 2, q);
  },
};

// d f16 · m f16 · 4 bytes of fifth bits · 16 bytes of nibbles: w = d q + m
const Q5_1: BlockType = {
  ...small,
  bytes: 24,
  bits: 8,
  hasMins: true,
  unpack(bytes, at, { q, scales, mins }) {
    scales[0] = half(bytes, at);
    mins[0] = half(bytes, at + 2);
    nibbles(bytes, at + 8, q, 0);
    fifthBits(bytes, at + 4, q);
  },
};

// d f16 · 32 signed bytes: w = d q
const Q8_0: BlockType = {
  ...small,
  bytes: 34,
  bits: 8,
  hasMins: false,
  unpack(bytes, at, { q, scales }) {
    scales[0] = half(bytes, at);
    for (let j = 0; j < 32; j++) q[j] = bytes[at + 2 + j]!; // taken modulo 256, so signed
  },
};

/**
 * d f16, dmin f16 and, from byte 4 on, eight scales and eight mins of six bits in 12 bytes S: of group j < 4 the low six
 * bits of S[j] and S[j + 4], of the others the nibbles of S[j + 4] below the high bits of S[j − 4] and S[j].
 */
function sixBits(bytes: Uint8Array, at: number, { scales, mins }: Block): void {
  const [d, dmin] = [half(bytes, at), half(bytes, at + 2)];
  const s = at + 4;
  for (let j = 0; j < 4; j++) {
    const [first, second, third] = [bytes[s + j]!, bytes[s + j + 4]!, bytes[s + j + 8]!];
    scales[j] = d * (first & 63);
    mins[j] = -Math.fround(dmin * (second & 63));
    scales[j + 4] = d * ((third & 15) | ((first >> 6) << 4));
    mins[j + 4] = -Math.fround(dmin * ((third >> 4) | ((second >> 6) << 4)));
  }
}

const large = { elements: 256, halfScale: false } as const;

// d, dmin, six-bit scales and mins · 128 bytes: of each 32 bytes the low halves are one group, the high ones the next
const Q4_K: BlockType = {
  ...large,
  bytes: 144,
  group: 32,
  bits: 4,
  hasMins: true,
  unpack(bytes, at, block) {
    sixBits(bytes, at, block);
    const { q } = block;
    for (let pair = 0; pair < 4; pair++) {
      for (let l = 0; l < 32; l++) {
        const byte = bytes[at + 16 + pair * 32 + l]!;
        q[pair * 64 + l] = byte & 15;
        q[pair * 64 + 32 + l] = byte >> 4;
      }
    }
  },
};

// as Q4_K with 32 bytes of fifth bits in between: bit j of byte l is that of element l of group j
const Q5_K: BlockType = {
  ...large,
  bytes: 176,
  group: 32,
  bits: 8,
  hasMins: true,
  unpack(bytes, at, block) {
    sixBits(bytes, at, block);
    const { q } = block;
    for (let pair = 0; pair < 4; pair++) {
      for (let l = 0; l < 32; l++) {
        const byte = bytes[at + 48 + pair * 32 + l]!;
        const high = bytes[at + 16 + l]! >> (pair * 2);
        q[pair * 64 + l] = (byte & 15) | ((high & 1) << 4);
        q[pair * 64 + 32 + l] = (byte >> 4) | ((high & 2) << 3);
      }
    }
  },
};

// 128 bytes of low four bits · 64 of high two · 16 signed scales · d f16: w = d s (q − 32), groups of 16
const Q6_K: BlockType = {
  ...large,
  bytes: 210,
  group: 16,
  bits: 8,
  hasMins: false,
  unpack(bytes, at, { q, scales }) {
    const d = half(bytes, at + 208);
    for (let j = 0; j < 16; j++) scales[j] = d * ((bytes[at + 192 + j]! << 24) >> 24);
    for (let h = 0; h < 2; h++) {
      for (let l = 0; l < 32; l++) {
        const first = bytes[at + h * 64 + l]!;
        const second = bytes[at + h * 64 + 32 + l]!;
        const high = bytes[at + 128 + h * 32 + l]!;
        const to = h * 128 + l;
        q[to] = ((first & 15) | ((high & 3) << 4)) - 32;
        q[to + 32] = ((second & 15) | (((high >> 2) & 3) << 4)) - 32;
        q[to + 64] = ((first >> 4) | (((high >> 4) & 3) << 4)) - 32;
        q[to + 96] = ((second >> 4) | ((high >> 6) << 4)) - 32;
      }
    }
  },
};

/**
 * The types whose numbers are codes in blocks.
 *
 * Layouts: https://github.com/ggml-org/ggml/blob/master/src/ggml-common.h
 */
export const BLOCK_TYPES = { Q4_0, Q4_1, Q5_0, Q5_1, Q8_0, Q4_K, Q5_K, Q6_K } as const;

export type BlockTypeName = keyof typeof BLOCK_TYPES;

export const isBlockType = (type: string): type is BlockTypeName => Object.hasOwn(BLOCK_TYPES, type);

/** Room for one block of any type. */
export const newBlock = (): Block => ({
  q: new Int8Array(256),
  scales: new Float32Array(16),
  mins: new Float32Array(16),
});
