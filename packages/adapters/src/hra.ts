import { concat, eye, matmul, slice, sqrt, type Tensor, triu, uniform, zeros } from "@lowrank/tensor";
import { type AdapterFormat, defineAdapter } from "./adapter.js";
import { expectInteger, expectNumber, expectOneOf } from "./expect.js";
import { CONVOLUTIONS } from "./features.js";
import { orthonormal, unitColumns } from "./orthonormal.js";
import { numberField, refuseFields } from "./peft-json.js";

export interface HraConfig {
  /** Number of reflections, from 1 to the width of the input. */
  rank: number;
  /** Orthonormalises the vectors, so that the update is a reflection in a subspace of `rank` dimensions. Default false. */
  orthogonal?: boolean;
  /** λ of the term λ ‖I − Vᵀ V‖²_F for the loss. Default 0, no term. */
  penalty?: number;
  /** Whether that norm is squared, as in the paper, or not, as in the authors' code. Default true. */
  squaredPenalty?: boolean;
  /** "paired": each vector twice, so that reflections cancel; "random". Default "paired", "random" if `orthogonal`. */
  init?: "paired" | "random";
}

export interface HraParams {
  /** A vector per reflection, as columns [in, rank]; only directions count. */
  U: Tensor;
}

const startOf = ({ orthogonal, init = orthogonal ? "random" : "paired" }: HraConfig): string => init;

const format: AdapterFormat<HraConfig> = {
  peftType: "HRA",
  tensors: { linear: { U: "hra_u" } },
  toJson: ({ rank, orthogonal = false, penalty, squaredPenalty, ...rest }) => ({
    r: rank,
    apply_GS: orthogonal,
    init_weights: startOf({ rank, orthogonal, ...rest }) === "paired",
    bias: "none",
    ...(penalty === undefined ? {} : { hra_penalty: penalty }),
    ...(squaredPenalty === undefined ? {} : { hra_squared_penalty: squaredPenalty }),
  }),
  fromJson(json) {
    refuseFields(json, []);
    const rank = numberField(json, "r", 8);
    const orthogonal = json["apply_GS"] === true;
    // PEFT's own start for an odd rank and for orthonormalised vectors is random, whatever the field says.
    const paired = json["init_weights"] !== false && !orthogonal && rank % 2 === 0;
    return {
      rank,
      orthogonal,
      init: paired ? "paired" : "random",
      ...("hra_penalty" in json ? { penalty: numberField(json, "hra_penalty", 0) } : {}),
      ...("hra_squared_penalty" in json ? { squaredPenalty: json["hra_squared_penalty"] !== false } : {}),
    };
  },
};

/** The inverse of I + N for strictly upper N, by blocks; a block of 4 has N⁴ = 0. */
function inverseUnitUpper(N: Tensor): Tensor {
  const n = N.shape[0]!;
  const one = eye(n, undefined, { dtype: N.dtype });
  if (n <= 4) return matmul(one.sub(N), matmul(N, N).add(one));
  const h = n >> 1;
  const first = inverseUnitUpper(
    slice(N, [
      [0, h],
      [0, h],
    ]),
  );
  const last = inverseUnitUpper(
    slice(N, [
      [h, n],
      [h, n],
    ]),
  );
  const corner = matmul(
    matmul(
      first,
      slice(N, [
        [0, h],
        [h, n],
      ]),
    ),
    last,
  ).neg();
  const below = zeros([n - h, h], { dtype: N.dtype });
  return concat([concat([first, corner], 1), concat([below, last], 1)], 0);
}

/** V and M of H = I + V M Vᵀ. */
function factors({ U }: HraParams, { orthogonal }: HraConfig): { V: Tensor; M: Tensor | number } {
  if (orthogonal) return { V: orthonormal(U), M: -2 };
  const V = unitColumns(U);
  // M = -(½ I + striu(Vᵀ V))⁻¹ = -2 (I + 2 striu(Vᵀ V))⁻¹
  return { V, M: inverseUnitUpper(triu(matmul(V.T, V), 1).mul(2)).mul(-2) };
}

// W' = W + (W V) M Vᵀ
function turn(W: Tensor, params: HraParams, config: HraConfig): Tensor {
  const { V, M } = factors(params, config);
  const low = matmul(W, V); // [out, rank]
  return W.add(matmul(typeof M === "number" ? low.mul(M) : matmul(low, M), V.T));
}

/**
 * HRA: turns the input of a frozen linear map by a chain of Householder reflections.
 *
 *     W' = W H,   H = H₁ H₂ ⋯ Hᵣ,   Hᵢ = I − 2 vᵢ vᵢᵀ,   vᵢ = uᵢ / ‖uᵢ‖
 *
 * W is [out, in], U = [u₁ … uᵣ] [in, rank] is trained: rank · in numbers. H is orthogonal, so lengths of neurons and angles
 * between them stay. It is never formed: H = I + V M Vᵀ with a triangular M [rank, rank], so the update has rank `rank`.
 * The vectors start in equal pairs, whose reflections cancel: W' = W up to rounding, for an even rank.
 *
 * With `orthogonal` the vectors are orthonormalised and H = I − 2 Q Qᵀ, a reflection in the subspace. That is never the
 * identity (‖H − I‖_F = 2 √rank), so such an adapter starts elsewhere.
 *
 * Source: Yuan et al. 2024, arXiv:2405.17484, eq. (1), (3), (4) and (6). The closed form of M, -(½ I + striu(Vᵀ V))⁻¹, is
 * that of the compact WY form, Schreiber and Van Loan 1989. The file is PEFT's.
 *
 * @example
 * ```ts
 * const adapted = attach(model, hra, { rank: 8, penalty: 1e-5 }, { targets: ["q_proj", "v_proj"] });
 * const loss = model.loss(ids, labels).add(adapted.penalty()!);
 * ```
 * @category Orthogonal adapters
 */
export const hra = /* @__PURE__ */ defineAdapter<HraConfig, HraParams>({
  name: "hra",
  kinds: ["linear", ...CONVOLUTIONS],
  format,
  startsWithin: () => 1e-6,
  startsElsewhere: (config) =>
    startOf(config) === "paired" ? undefined : "random reflections are not the identity",

  check({ rank, orthogonal, penalty, init }, { inFeatures, path }) {
    expectInteger("hra", "rank", rank, { min: 1, max: inFeatures, layer: `"${path}", ${inFeatures} in` });
    if (penalty !== undefined) expectNumber("hra", "penalty", penalty, { min: 0 });
    // Equal vectors have no orthonormal basis, and an odd one out has none to cancel it.
    const starts = orthogonal || rank % 2 === 1 ? ["random"] : ["paired", "random"];
    const which = orthogonal ? "orthogonal vectors" : `rank ${rank}`;
    expectOneOf("hra", `init for ${which}`, startOf({ rank, orthogonal, init }), starts);
  },

  init({ inFeatures, dtype }, config, key) {
    const { rank } = config;
    const paired = startOf(config) === "paired";
    const columns = paired ? rank / 2 : rank;
    const bound = columns ** -0.5;
    const drawn = uniform([inFeatures, columns], { key, min: -bound, max: bound, dtype });
    if (!paired) return { U: drawn };
    const twice = drawn.reshape([inFeatures, columns, 1]);
    return { U: concat([twice, twice], 2).reshape([inFeatures, rank]) };
  },

  // y = W (x Hᵀ), x Hᵀ = x + (x V) Mᵀ Vᵀ: two thin products. The patches of a convolution are no tensor: W H there.
  forward(x, base, params, config, { target, withWeight, weight }) {
    if (target.filter !== undefined) return withWeight(x, turn(weight(), params, config));
    const { V, M } = factors(params, config);
    const low = matmul(x, V); // [..., rank]
    const turned = typeof M === "number" ? low.mul(M) : matmul(low, M.T);
    return base(x.add(matmul(turned, V.T)));
  },

  merge: turn,

  // λ ‖I − Vᵀ V‖²_F, or the norm itself
  penalty({ U }, { penalty = 0, squaredPenalty = true, orthogonal, rank }) {
    if (penalty === 0 || orthogonal) return undefined;
    const V = unitColumns(U);
    const squared = eye(rank, undefined, { dtype: U.dtype }).sub(matmul(V.T, V)).square().sum();
    return (squaredPenalty ? squared : sqrt(squared)).mul(penalty);
  },
});
