import { type Drawn, type Filled, filled } from "../inputs.js";
import type { Row } from "./row.js";

/**
 * y = x Wᵀ with x [1, in] in f32 and W [out, in], as in decoding a token. Each run takes the next of `copies` copies of
 * W, together more than any cache holds: the time is that of reading W from memory.
 */
export interface MatvecSpec {
  kind: "matvec";
  weights: FloatWeights | QuantizedWeights;
  x: Filled;
  copies: number;
  /** Bytes of W, scales included. */
  sizeBytes: number;
}

export interface FloatWeights {
  dtype: "f32" | "f16";
  values: Filled;
}

/** W[o, i] = scale[o, i / group] · (code[o, i] − 2^(bits−1)), the scales in f32. */
export interface QuantizedWeights {
  dtype: "int8" | "int4";
  bits: 8 | 4;
  group: number;
  codes: Drawn;
  scales: Filled;
}

type Dtype = MatvecSpec["weights"]["dtype"];

const GROUP = 32;
const COLD = 2 ** 28; // bytes of all copies together: no cache of a processor holds as much

/** W [n, n]; all copies together are more than `coldBytes`. */
export function matvecRow(dtype: Dtype, n: number, coldBytes: number): Row {
  const values = filled([n, n], 2, 2);
  const bits = { f32: 32, f16: 16, int8: 8, int4: 4 }[dtype];
  let sizeBytes = (n * n * bits) / 8;
  let weights: MatvecSpec["weights"];
  if (dtype === "f32" || dtype === "f16") weights = { dtype, values };
  else {
    const codes = { shape: [n, n], seed: 2, below: 2 ** bits };
    const scales = filled([n, n / GROUP], 3, 0.002, 0.01);
    weights = { dtype, bits: dtype === "int8" ? 8 : 4, group: GROUP, codes, scales };
    sizeBytes += (n * n * 4) / GROUP;
  }
  return {
    name: `matvec-${n}-${dtype}`,
    // Half floats round x and the sums; beside integer weights x may be rounded to 8 bits too, in blocks of the group.
    tolerance: { f32: 1e-4, f16: 1e-2, int8: 2e-2, int4: 2e-2 }[dtype],
    spec: {
      kind: "matvec",
      weights,
      x: filled([1, n], 1, 2),
      copies: Math.ceil(coldBytes / sizeBytes) + 1,
      sizeBytes,
    },
    oneThread: true,
  };
}

export const matvecRows: Row[] = (["f32", "f16", "int8", "int4"] as const).map((dtype) =>
  matvecRow(dtype, 4096, COLD),
);
