import { ConfigError, eye, matmul, max, type Parameter, type Tensor } from "@lowrank/tensor";
import { Optimizer, type OptimizerOptions, type UpdateInput, type UpdateOutput } from "./optimizer.js";

export interface StiefelAdamOptions extends Omit<OptimizerOptions, "weightDecay"> {
  /** Decay rates of the two moments. Default [0.9, 0.99]. */
  betas?: readonly [number, number];
  /** Added to the denominator. Default 1e-5. */
  eps?: number;
}

// Enough for a step of ‖ξ‖ = 8, whose singular values reach from 1 to 8: three growths by 1.5 to a factor of 3.4, then squares.
const ROUNDS = 12;

/** The orthogonal matrix next to X [n, n], X (Xᵀ X)^(−1/2), by Newton and Schulz: products only. */
export function nearestOrthogonal(X: Tensor): Tensor {
  // ‖Xᵀ X‖₂ is at most its largest sum of magnitudes in a row.
  const bound = max(matmul(X.T, X).abs().sum(-1));
  const half = eye(X.shape[0]!, undefined, { dtype: X.dtype }).mul(1.5);
  let Y = X.div(bound.sqrt());
  for (let round = 0; round < ROUNDS; round++) Y = matmul(Y, half.sub(matmul(Y.T, Y).mul(0.5)));
  return Y;
}

/**
 * Adam on orthogonal matrices X [n, n]. For update t, from 1, with the gradient G:
 *
 *     S ← Xᵀ G − Gᵀ X
 *     Y ← β₁ Y − (1 − β₁) S
 *     P ← β₂ P + (1 − β₂) S²
 *     ξ = lr / (1 − β₁ᵗ) · Y / (√(P / (1 − β₂ᵗ)) + eps)
 *     X ← the orthogonal matrix next to X + X ξ
 *
 * S, Y and ξ are skew-symmetric, so that X + X ξ is tangent; a matrix of determinant 1 keeps it. State: `momentum` (Y) and
 * `exp_avg_sq` (P). There is no weight decay.
 *
 * Source: Kong, Wang and Tao 2023, arXiv:2205.14173, algorithm 2 for square matrices with the canonical metric and an
 * Euler step; the retraction here is a Newton-Schulz iteration on X itself.
 */
export class StiefelAdam extends Optimizer {
  protected override readonly stateNames = ["momentum", "exp_avg_sq"];
  private readonly betas: readonly [number, number];
  private readonly eps: number;

  constructor(parameters: Iterable<readonly [string, Parameter]>, options: StiefelAdamOptions) {
    const all = [...parameters];
    super("StiefelAdam", all, { ...options, weightDecay: 0 });
    const { betas = [0.9, 0.99], eps = 1e-5 } = options;
    const unfit = all.find(([, p]) => p.ndim !== 2 || p.shape[0] !== p.shape[1]);
    if (unfit !== undefined) {
      throw new ConfigError({
        where: "StiefelAdam",
        expected: "square matrices",
        got: `${unfit[0]} of shape [${unfit[1].shape.join(", ")}]`,
        hint: "give other parameters to another optimizer",
      });
    }
    if (!betas.every((b) => b >= 0 && b < 1) || !(eps >= 0)) {
      throw new ConfigError({
        where: "StiefelAdam",
        expected: "betas from 0 to below 1 and eps of at least 0",
        got: `betas [${betas.join(", ")}], eps ${eps}`,
      });
    }
    this.betas = betas;
    this.eps = eps;
  }

  protected override update({ parameter: X, grad, state, lr, step }: UpdateInput): UpdateOutput {
    const [b1, b2] = this.betas;
    const A = matmul(X.T, grad);
    const S = A.sub(A.T);
    const Y = state["momentum"]!.mul(b1).sub(S.mul(1 - b1));
    const P = state["exp_avg_sq"]!.mul(b2).add(S.square().mul(1 - b2));
    const root = P.sqrt()
      .mul(1 / Math.sqrt(1 - b2 ** step))
      .add(this.eps);
    const xi = Y.div(root).mul(lr / (1 - b1 ** step));
    return {
      parameter: nearestOrthogonal(X.add(matmul(X, xi))),
      state: { momentum: Y, exp_avg_sq: P },
    };
  }
}
