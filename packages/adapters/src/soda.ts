import { qr, svd } from "@lowrank/linalg";
import { eye, full, matmul, pad, relu, swapaxes, type Tensor } from "@lowrank/tensor";
import { defineAdapter, type Target } from "./adapter.js";
import { expectInteger, expectNumber, expectOneOf } from "./expect.js";

export interface SodaConfig {
  /** "svd": the spectrum are the singular values; "lq": the diagonal of a triangular factor. Default "svd". */
  form?: "svd" | "lq";
  /** Sizes of the orthogonal factors, at most three, with the input's width for product. Default: those with the fewest numbers. */
  shape?: readonly number[];
  /** What the shift of the spectrum starts with. Default 0; the authors' code has 1e-3. */
  shift?: number;
}

export interface SodaParams {
  /** Orthogonal factors [nⱼ, nⱼ]. */
  Q1: Tensor;
  Q2?: Tensor;
  Q3?: Tensor;
  /** Shift of the spectrum, [min(in, out)]. */
  delta: Tensor;
  /** Left singular vectors [out, k], singular values [k]: for "svd". Derived. */
  U?: Tensor;
  S?: Tensor;
  /** Orthonormal rows [k, in]. Derived. */
  Vt: Tensor;
}

/** The split of n into at most three factors, in ascending order, whose squares have the least sum. */
export function kroneckerShape(n: number): number[] {
  let best = [n];
  const cost = (shape: number[]): number => shape.reduce((sum, m) => sum + m * m, 0);
  for (let a = 2; a * a <= n; a++) {
    if (n % a !== 0) continue;
    const rest = n / a;
    if (cost([a, rest]) < cost(best)) best = [a, rest];
    for (let b = a; b * b <= rest; b++) {
      if (rest % b === 0 && cost([a, b, rest / b]) < cost(best)) best = [a, b, rest / b];
    }
  }
  return best;
}

/** x [.., n₁ n₂ n₃] times Q₁ ⊗ Q₂ ⊗ Q₃, a factor at a time. */
export function timesKronecker(x: Tensor, factors: readonly Tensor[]): Tensor {
  const width = x.shape.at(-1)!;
  let y = x;
  for (const Q of factors) {
    const n = Q.shape[0]!;
    // The first axis is turned and put last; after all factors each is back in its place.
    y = matmul(swapaxes(y.reshape([-1, n, width / n]), 1, 2), Q);
  }
  return y.reshape(x.shape);
}

const rotation = ({ Q1, Q2, Q3 }: SodaParams): Tensor[] =>
  [Q1, Q2, Q3].filter((Q): Q is Tensor => Q !== undefined);

// What is added to the spectrum: relu(S + δ) − S, or δ
const shiftOf = ({ S, delta }: SodaParams): Tensor => (S === undefined ? delta : relu(S.add(delta)).sub(S));

/** Columns of zeros up to `out`, where the spectrum is shorter. */
const wider = (x: Tensor, out: number): Tensor => {
  const lack = out - x.shape.at(-1)!;
  return lack === 0 ? x : pad(x, [...x.shape.slice(1).map((): [number, number] => [0, 0]), [0, lack]]);
};

/** Rows z [.., in] through the shifted spectrum alone, [.., out]. */
function throughShift(z: Tensor, params: SodaParams, { outFeatures }: Target): Tensor {
  const low = matmul(z, params.Vt.T).mul(shiftOf(params)); // [.., k]
  return params.U === undefined ? wider(low, outFeatures) : matmul(low, params.U.T);
}

/**
 * SODA: shifts the spectrum of a weight and rotates its basis by a Kronecker product of small orthogonal matrices.
 *
 *     svd:  W' = U diag(relu(S + δ)) Vᵀ Kᵀ,   W = U diag(S) Vᵀ
 *     lq:   W' = (L + diag(δ)) Q Kᵀ,          W = L Q, L lower triangular with a diagonal of at least 0
 *     K = Q₁ ⊗ Q₂ ⊗ Q₃
 *
 * W is [out, in], Qⱼ [nⱼ, nⱼ] with n₁ n₂ n₃ = in, δ [k], k = min(in, out): Σ nⱼ² + k numbers are trained. Qⱼ start as identities
 * and δ at zero, so W' = W before the first step. K is applied factor by factor. The decomposition is made anew from the
 * weight when the adapter is attached or loaded, on a backend that has it, and not saved: k (in + out) numbers per layer.
 *
 * The factors stay orthogonal if `StiefelAdam` of `@lowrank/optim` trains them, and δ another optimizer.
 *
 * Source: Zhang et al. 2024, arXiv:2405.21050. "svd" is that of the authors' code. "lq" follows the paper's description of
 * the split; that δ stands on the diagonal of L is our reading. The authors' δ starts at 1e-3.
 *
 * @example
 * ```ts
 * const adapted = attach(model, soda, {}, { targets: ["q_proj", "v_proj"] });
 * const all = [...adapted.parameters()].filter(([, p]) => p.trainable);
 * const rotations = new StiefelAdam(all.filter(([path]) => path.includes("soda_Q")), { lr: 1e-3 });
 * const shifts = new AdamW(all.filter(([path]) => path.includes("soda_delta")), { lr: 1e-3 });
 * ```
 * @category Orthogonal adapters
 */
export const soda = /* @__PURE__ */ defineAdapter<SodaConfig, SodaParams>({
  name: "soda",
  frozen: ["U", "S", "Vt"],
  derived: ["U", "S", "Vt"],
  startsElsewhere: ({ shift = 0 }) => (shift === 0 ? undefined : "the spectrum is shifted"),

  check({ form, shape, shift }, { inFeatures, path }) {
    if (form !== undefined) expectOneOf("soda", "form", form, ["svd", "lq"]);
    if (shift !== undefined) expectNumber("soda", "shift", shift);
    if (shape === undefined) return;
    expectOneOf("soda", "the number of factors in shape", shape.length, [1, 2, 3]);
    for (const n of shape) expectInteger("soda", "a factor in shape", n, { min: 1 });
    const product = shape.reduce((a, b) => a * b, 1);
    expectOneOf("soda", `the product of shape (layer "${path}")`, product, [inFeatures]);
  },

  init({ inFeatures, outFeatures, dtype }, { form = "svd", shape, shift = 0 }, _key, weight) {
    const [Q1, Q2, Q3] = (shape ?? kroneckerShape(inFeatures)).map((n) => eye(n, undefined, { dtype }));
    const basis = form === "svd" ? svd(weight()) : { Vt: qr(weight().T).q.T };
    return {
      Q1: Q1!,
      ...(Q2 === undefined ? {} : { Q2 }),
      ...(Q3 === undefined ? {} : { Q3 }),
      delta: full([Math.min(inFeatures, outFeatures)], shift, { dtype }),
      ...("s" in basis ? { U: basis.u, S: basis.s, Vt: basis.vt } : basis),
    };
  },

  // z = x K;  y = W z + (U diag(relu(S + δ) − S) Vᵀ) z
  forward(x, base, params, _, { target }) {
    const z = timesKronecker(x, rotation(params));
    return base(z).add(throughShift(z, params, target));
  },

  merge(W, params, _, target) {
    // The shifted part as [out, in]: its transpose is what the unit vectors become.
    const unit = eye(target.inFeatures, undefined, { dtype: W.dtype });
    const spectrum = W.add(throughShift(unit, params, target).T);
    return timesKronecker(
      spectrum,
      rotation(params).map((Q) => Q.T),
    );
  },
});
