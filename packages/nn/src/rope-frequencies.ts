import { ConfigError } from "@lowrank/tensor";

/** How rotary frequencies are stretched beyond the length that a model was trained for. */
export type RopeScaling =
  | { readonly type: "default" }
  /** All frequencies divided by `factor`. */
  | { readonly type: "linear"; readonly factor: number }
  /** Llama 3.1: low frequencies divided by `factor`, high ones kept, a smooth passage between. */
  | {
      readonly type: "llama3";
      readonly factor: number;
      readonly lowFreqFactor: number;
      readonly highFreqFactor: number;
      readonly originalMaxPositions: number;
    };

export interface RopeOptions {
  /** Base of the geometric series. Default 10,000. */
  theta?: number;
  scaling?: RopeScaling;
}

/**
 * Angular frequencies of a rotary embedding, in radians per position:
 *
 *     ω_i = θ^(−2i / D),   i = 0 .. D/2 − 1
 *
 * then scaled. With wavelength λ = 2π/ω and original length L, the llama3 rule divides ω by `factor` where λ > L / low,
 * keeps it where λ < L / high, and between takes (1 − s) · ω / factor + s · ω with s = (L / λ − low) / (high − low).
 *
 * Source: Su et al. 2021, arXiv:2104.09864, section 3.2.2; linear scaling: Chen et al. 2023, arXiv:2306.15595; the
 * llama3 rule: Grattafiori et al. 2024, arXiv:2407.21783, and the released code of Llama 3.1.
 */
export function ropeFrequencies(
  headDim: number,
  { theta = 10_000, scaling = { type: "default" } }: RopeOptions = {},
): Float32Array {
  if (!Number.isInteger(headDim) || headDim <= 0 || headDim % 2 !== 0) {
    throw new ConfigError({ where: "rope", expected: "an even head width", got: String(headDim) });
  }
  return Float32Array.from({ length: headDim / 2 }, (_, i) => scaled(theta ** ((-2 * i) / headDim), scaling));
}

function scaled(frequency: number, scaling: RopeScaling): number {
  if (scaling.type === "default") return frequency;
  if (scaling.type === "linear") return frequency / scaling.factor;
  const { factor, lowFreqFactor: low, highFreqFactor: high, originalMaxPositions } = scaling;
  const turns = (originalMaxPositions * frequency) / (2 * Math.PI); // L / λ
  if (turns < low) return frequency / factor;
  if (turns > high) return frequency;
  const s = (turns - low) / (high - low);
  return (1 - s) * (frequency / factor) + s * frequency;
}
