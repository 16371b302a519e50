import {
  abs,
  atan,
  cos,
  expandDims,
  lt,
  sin,
  type Tensor,
  where as select,
  zerosLike,
} from "@lowrank/tensor";
import { scaleColumns } from "../diagonal.js";
import { spectralFunction } from "../low-rank/spectral-function.js";
import { qrFrom } from "../qr.js";
import { solveFrom } from "../solve.js";
import { svdFrom } from "../svd.js";
import { curve, pair } from "./points.js";

const beside = (X: Tensor, G: Tensor): Tensor => G.sub(X.matmul(X.T.matmul(G)));

/** The gradient on the manifold of a function whose ordinary gradient is g: (I - x xᵀ) g, the horizontal part. */
function project(x: Tensor, g: Tensor): Tensor {
  return beside(...pair("grassmann.project", x, "g", g));
}

/** q of the QR decomposition of x + xi. */
function retract(x: Tensor, xi: Tensor): Tensor {
  const where = "grassmann.retract";
  const [X, d] = pair(where, x, "xi", xi);
  return qrFrom(where, X.add(d)).q;
}

/**
 * The end of the geodesic that starts at x with velocity xi, after time 1: x V cos(Σ) Vᵀ + U sin(Σ) Vᵀ of xi = U Σ Vᵀ. It is
 * computed as [x xi] exp([[0, -xiᵀ xi], [I, 0]]) [I; 0], which is smooth at equal and zero values.
 */
function exp(x: Tensor, xi: Tensor): Tensor {
  const [X, d] = pair("grassmann.exp", x, "xi", xi);
  const S = d.T.matmul(d);
  return curve(X, d, zerosLike(S), S, null);
}

/**
 * The velocity at x of the shortest geodesic to the space of y: U atan(Σ) Vᵀ of (I - x xᵀ) y (xᵀ y)⁻¹ = U Σ Vᵀ. The singular
 * values of the result are the principal angles. Its end `exp` spans the space of y, in a basis of its own.
 */
function log(x: Tensor, y: Tensor): Tensor {
  const where = "grassmann.log";
  const [X, Y] = pair(where, x, "y", y);
  const M = X.T.matmul(Y);
  const T = solveFrom(where, M.T, Y.sub(X.matmul(M)).T).T;
  return spectralFunction(where, T, (s) => {
    // (atan a - atan b) / (a - b) = atan(z) / z / (1 + a b), z = (a - b) / (1 + a b).
    const [a, b] = [expandDims(s, -1), expandDims(s, -2)];
    const product = a.mul(b).add(1);
    const z = a.sub(b).div(product);
    const near = lt(abs(z), 1e-4);
    const quotient = atan(z).div(select(near, 1, z));
    return { values: atan(s), slopes: select(near, z.mul(z).div(-3).add(1), quotient).div(product) };
  });
}

/**
 * A tangent vector eta at x carried along the geodesic of velocity xi to its end, in parallel: with xi = U Σ Vᵀ,
 * (-x V sin(Σ) Uᵀ + U cos(Σ) Uᵀ + I - U Uᵀ) eta. Lengths and angles stay.
 */
function transport(x: Tensor, xi: Tensor, eta: Tensor): Tensor {
  const where = "grassmann.transport";
  const [X, d] = pair(where, x, "xi", xi);
  const [, e] = pair(where, x, "eta", eta);
  const { u, s, vt } = svdFrom(where, d);
  const along = u.T.matmul(e);
  const turned = scaleColumns(u, cos(s)).sub(scaleColumns(X.matmul(vt.T), sin(s)));
  return e.add(turned.sub(u).matmul(along));
}

/**
 * The Grassmann manifold of p-dimensional spaces in n dimensions, each given by an orthonormal basis x [.., n, p], f32 or
 * f64, batched. Tangent vectors xi at x are those with xᵀ xi = 0. What is computed does not depend on which basis of the
 * space is given, but for a turn of the basis that comes out. Bases and tangent vectors are taken as they are given.
 *
 * Source: Edelman, Arias and Smith 1998, arXiv:physics/9806030, section 2.5; Absil, Mahony and Sepulchre 2004, Riemannian
 * geometry of Grassmann manifolds, section 3.
 *
 * @throws ShapeError, DTypeError; when computed NumericalError for NaN or infinity, from `log` where an angle is π/2
 * @category Manifolds
 */
export const grassmann = { project, retract, exp, log, transport } as const;
