import { svd } from "@lowrank/linalg";
import { matmul, normal, slice, stopGradient, type Tensor, zeros } from "@lowrank/tensor";
import { defineAdapter } from "./adapter.js";
import { directionNorm, type DoraConfig } from "./dora.js";
import { expectInteger, expectNumber, expectOneOf } from "./expect.js";

export interface EdoraConfig {
  /** Size of the trained matrix, from 1 to min(in, out). */
  rank: number;
  /** The update is scaled by alpha / rank. Default: rank, a scale of 1. */
  alpha?: number;
  /** R starts as N(0, std²). Default 0, so that the start is the frozen layer; the authors' code has 1e-5. */
  std?: number;
  /** As in DoRA. Default "detached". */
  normGradient?: DoraConfig["normGradient"];
}

export interface EdoraParams {
  /** Right singular vectors of W by rows, each times its singular value, [rank, in]. Frozen. */
  A: Tensor;
  /** Left singular vectors of W, [out, rank]. Frozen. */
  B: Tensor;
  /** [rank, rank] */
  R: Tensor;
  /** Length of each neuron's weight, [out]. */
  m: Tensor;
}

const scaleOf = ({ rank, alpha = rank }: EdoraConfig): number => alpha / rank;

function gain(W: Tensor, { A, B, R, m }: EdoraParams, config: EdoraConfig): Tensor {
  const norm = directionNorm(W, { A: matmul(R, A), B }, scaleOf(config));
  return m.div(config.normGradient === "exact" ? norm : stopGradient(norm));
}

/**
 * EDoRA: DoRA whose direction moves within the leading singular subspaces of the weight.
 *
 *     W' = diag(m / ‖V‖) V,   V = W + s B R A,   B = Uᵣ,   A = Sᵣ Vᵣᵀ,   W = U S Vᵀ
 *
 * W is [out, in], R [rank, rank] and m [out] are trained: rank² + out numbers. A and B are frozen and saved with them, since
 * a decomposition is not the same bit for bit on every backend. R starts at zero (its gradient is not) and m at ‖W‖, so
 * W' = W before the first step. Attaching needs a backend with decompositions; running does not.
 *
 * Source: Nasiri and Garraghan 2025, arXiv:2501.12067, after the authors' code, which starts R at N(0, 1e-10).
 *
 * @example
 * ```ts
 * const adapted = attach(model, edora, { rank: 16, alpha: 16 }, { targets: ["q_proj", "v_proj"] });
 * ```
 * @category Weight-decomposed adapters
 */
export const edora = /* @__PURE__ */ defineAdapter<EdoraConfig, EdoraParams>({
  name: "edora",
  frozen: ["A", "B"],
  startsElsewhere: ({ std = 0 }) => (std === 0 ? undefined : "R is drawn"),

  check({ rank, alpha, std, normGradient }, { inFeatures, outFeatures, path }) {
    expectInteger("edora", "rank", rank, {
      min: 1,
      max: Math.min(inFeatures, outFeatures),
      layer: `"${path}", ${inFeatures} in, ${outFeatures} out`,
    });
    if (alpha !== undefined) expectNumber("edora", "alpha", alpha);
    if (std !== undefined) expectNumber("edora", "std", std, { min: 0 });
    if (normGradient !== undefined) expectOneOf("edora", "normGradient", normGradient, ["detached", "exact"]);
  },

  init({ dtype }, config, key, weight) {
    const { rank, std = 0 } = config;
    const W = weight();
    const { u, s, vt } = svd(W);
    const A = slice(vt, [[0, rank]]).mul(slice(s, [[0, rank]]).reshape([rank, 1]));
    const B = slice(u, [null, [0, rank]]);
    const R = std === 0 ? zeros([rank, rank], { dtype }) : normal([rank, rank], { key, std, dtype });
    return { A, B, R, m: directionNorm(W, { A: A.mul(0), B }, scaleOf(config)) };
  },

  // y = g ∘ (W x + s B R A x) + b
  forward(x, base, params, config, { weight, bias }) {
    const g = gain(weight(), params, config);
    const y = base(x);
    const b = bias();
    const low = matmul(matmul(x, params.A.T), params.R.T).mul(scaleOf(config)); // [..., rank]
    const direct = b === null ? y : y.sub(b);
    return y.add(direct.mul(g.sub(1))).add(matmul(low, params.B.T).mul(g));
  },

  merge(W, params, config) {
    const { A, B, R } = params;
    const V = W.add(matmul(B, matmul(R, A)).mul(scaleOf(config)));
    return V.mul(gain(W, params, config).reshape([-1, 1]));
  },
});
