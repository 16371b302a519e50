import { concat, ConfigError, type Tensor } from "@lowrank/tensor";
import { symmetricPart } from "../cholesky.js";
import { expm } from "../expm.js";
import { expectCount } from "../low-rank/expect.js";
import { columnsOf, rowsOf } from "../matrix.js";
import { polar } from "../polar.js";
import { qrFrom } from "../qr.js";
import { solveFrom } from "../solve.js";
import { curve, identityLike, pair } from "./points.js";

/** ⟨a, b⟩ = tr(aᵀ b), or the canonical tr(aᵀ (I - x xᵀ / 2) b). */
export type StiefelMetric = "euclidean" | "canonical";

function expectMetric(where: string, metric: StiefelMetric): void {
  if (metric !== "euclidean" && metric !== "canonical") {
    throw new ConfigError({ where, expected: 'metric "euclidean" or "canonical"', got: String(metric) });
  }
}

/**
 * The gradient on the manifold of a function whose ordinary gradient is g: with the Euclidean metric g - x sym(xᵀ g), which
 * is the orthogonal projection onto the tangent space, with the canonical one g - x gᵀ x.
 */
function project(x: Tensor, g: Tensor, { metric = "euclidean" }: { metric?: StiefelMetric } = {}): Tensor {
  const where = "stiefel.project";
  expectMetric(where, metric);
  const [X, G] = pair(where, x, "g", g);
  return metric === "canonical"
    ? G.sub(X.matmul(G.T.matmul(X)))
    : G.sub(X.matmul(symmetricPart(X.T.matmul(G))));
}

/** q of the QR decomposition of x + xi with a positive diagonal of r. */
function retractQr(x: Tensor, xi: Tensor): Tensor {
  const where = "stiefel.retractQr";
  const [X, d] = pair(where, x, "xi", xi);
  return qrFrom(where, X.add(d)).q;
}

/** The orthonormal matrix nearest to z = x + xi, z (zᵀ z)^(-1/2). Agrees with the Euclidean `exp` to second order. */
function retractPolar(x: Tensor, xi: Tensor): Tensor {
  const [X, d] = pair("stiefel.retractPolar", x, "xi", xi);
  return polar(X.add(d)).u;
}

export interface CayleyOptions {
  /**
   * Solve by so many rounds of y ← x + W (x + y) / 2 from y = x + xi instead of exactly. They converge for ‖W‖₂ < 2, by
   * ‖W‖₂ / 2 a round; the result is then orthonormal as far as they have. Default: exactly.
   */
  iterations?: number;
}

/**
 * Cayley's transform (I - W/2)⁻¹ (I + W/2) x of the skew W = a xᵀ - x aᵀ, a = (I - x xᵀ / 2) xi, which has W x = xi. Agrees with
 * the canonical `exp` to second order. For 2p < n it is, with u = [a, x] and v = [x, -a], x + u (I - vᵀu / 2)⁻¹ vᵀx: a solution of
 * 2p equations.
 */
function retractCayley(x: Tensor, xi: Tensor, { iterations }: CayleyOptions = {}): Tensor {
  const where = "stiefel.retractCayley";
  if (iterations !== undefined) expectCount(where, "iterations", iterations, 0);
  const [X, d] = pair(where, x, "xi", xi);
  const [n, p] = [rowsOf(X), columnsOf(X)];
  const a = d.sub(X.matmul(X.T.matmul(d)).mul(0.5));
  if (iterations !== undefined) {
    const turn = (y: Tensor) => a.matmul(X.T.matmul(y)).sub(X.matmul(a.T.matmul(y)));
    let y = X.add(d);
    for (let round = 0; round < iterations; round++) y = X.add(turn(X.add(y)).mul(0.5));
    return y;
  }
  if (2 * p < n) {
    const [u, v] = [concat([a, X], -1), concat([X, a.neg()], -1)];
    const small = identityLike(X, 2 * p).sub(v.T.matmul(u).mul(0.5));
    return X.add(u.matmul(solveFrom(where, small, v.T.matmul(X))));
  }
  const half = a.matmul(X.T).sub(X.matmul(a.T)).mul(0.5);
  const one = identityLike(X, n);
  return solveFrom(where, one.sub(half), X.add(half.matmul(X)));
}

/**
 * The end of the geodesic that starts at x with velocity xi, after time 1. With A = xᵀ xi and K = xi - x A: Euclidean
 * [x xi] exp([[A, -xiᵀ xi], [I, A]]) [I; 0] exp(-A), canonical [x K] exp([[A, -KᵀK], [I, 0]]) [I; 0]: exponentials of 2p × 2p.
 */
function exp(x: Tensor, xi: Tensor, { metric = "euclidean" }: { metric?: StiefelMetric } = {}): Tensor {
  const where = "stiefel.exp";
  expectMetric(where, metric);
  const [X, d] = pair(where, x, "xi", xi);
  const A = X.T.matmul(d);
  if (metric === "euclidean") return curve(X, d, A, d.T.matmul(d), A).matmul(expm(A.neg()));
  const K = d.sub(X.matmul(A));
  return curve(X, K, A, K.T.matmul(K), null);
}

/** A tangent vector eta of another point brought to y, by projection onto the tangent space there. */
function transport(y: Tensor, eta: Tensor): Tensor {
  const [Y, d] = pair("stiefel.transport", y, "eta", eta);
  return d.sub(Y.matmul(symmetricPart(Y.T.matmul(d))));
}

/**
 * The Stiefel manifold of matrices x [.., n, p] with orthonormal columns, n ≥ p, f32 or f64, batched. Tangent vectors xi at x are
 * those with xᵀ xi skew. Points and tangent vectors are taken as they are given, not checked.
 *
 * Retractions start at x with velocity xi and stay on the manifold: take a step of length t with t · xi. Gradients go
 * through all of them.
 *
 * Source: Edelman, Arias and Smith 1998, arXiv:physics/9806030, sections 2.2 to 2.4; Absil, Mahony and Sepulchre 2008,
 * Optimization Algorithms on Matrix Manifolds, 4.1.1 and 8.1.3; Wen and Yin 2013, A feasible method for optimization with
 * orthogonality constraints, lemma 4, for Cayley's transform; Li, Li and Todorovic 2020, arXiv:2002.01113, algorithm 1, for its
 * iteration.
 *
 * @example
 * ```ts
 * const step = stiefel.project(x, gradient).mul(-0.1);
 * const next = stiefel.retractQr(x, step);
 * ```
 * @category Manifolds
 */
export const stiefel = { project, retractQr, retractPolar, retractCayley, exp, transport } as const;
