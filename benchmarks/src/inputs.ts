/** Numbers that every contender makes for itself from the same description, in TypeScript and in Python. */
export interface Filled {
  shape: number[];
  seed: number;
  /** Values lie within offset ± scale / 2. */
  scale: number;
  offset: number;
}

/** Whole numbers from 0 to below − 1: token ids, class labels. */
export interface Drawn {
  shape: number[];
  seed: number;
  below: number;
}

export const filled = (shape: number[], seed: number, scale: number, offset = 0): Filled => ({
  shape,
  seed,
  scale,
  offset,
});

export const sizeOf = (shape: readonly number[]): number => shape.reduce((a, b) => a * b, 1);

/** Element i of a stream as a number in [0, 1): the 32-bit finalizer of MurmurHash3 over i and the seed. */
function unit(i: number, seed: number): number {
  let h = (i + Math.imul(seed, 0x9e3779b9)) | 0;
  h = Math.imul(h ^ (h >>> 16), 0x85ebca6b);
  h = Math.imul(h ^ (h >>> 13), 0xc2b2ae35);
  return ((h ^ (h >>> 16)) >>> 0) / 4294967296;
}

export function numbers({ shape, seed, scale, offset }: Filled): Float32Array<ArrayBuffer> {
  const out = new Float32Array(sizeOf(shape));
  for (let i = 0; i < out.length; i++) out[i] = offset + (unit(i, seed) - 0.5) * scale;
  return out;
}

export function integers({ shape, seed, below }: Drawn): Int32Array<ArrayBuffer> {
  const out = new Int32Array(sizeOf(shape));
  for (let i = 0; i < out.length; i++) out[i] = Math.floor(unit(i, seed) * below);
  return out;
}
