import { type ByRank, type BySpectrum, recompress, type Svd, svd, type Truncation } from "@lowrank/linalg";
import { ConfigError, evaluate, slice, sqrt, type Tensor } from "@lowrank/tensor";
import { expectInteger } from "../expect.js";
import type { DenseUpdate, LoraUpdate, LoraUpdates, WeightUpdates } from "./updates.js";

/** How much is kept of each layer's change: a rank (at most what the layer has), or a share of its energy. */
export type UpdateTruncation = ByRank | Pick<BySpectrum, "energy">;

/** @throws ConfigError unless exactly one of rank and energy is given, in its range */
export function checkTruncation(where: string, rule: UpdateTruncation): void {
  const { rank, energy } = rule as { rank?: number; energy?: number };
  if ((rank === undefined) === (energy === undefined)) {
    throw new ConfigError({
      where,
      expected: "one of rank and energy",
      got: rank === undefined ? "none" : "both",
    });
  }
  if (rank !== undefined) expectInteger(where, "rank", rank, { min: 1 });
  if (energy !== undefined && !(energy > 0 && energy <= 1))
    throw new ConfigError({ where, expected: "energy above 0, up to 1", got: String(energy) });
}

/** U diag(s) Vᵀ as the two factors (U √s)(√s Vᵀ): entries of one size, for storage in 16 bits and for further training. */
function balanced({ u, s, vt }: Svd, rank: number): { A: Tensor; B: Tensor } {
  const root = sqrt(slice(s, [[0, rank]])); // [rank]
  return {
    A: slice(vt, [[0, rank], null]).mul(root.reshape([-1, 1])),
    B: slice(u, [null, [0, rank]]).mul(root),
  };
}

/** The decomposition of a change; of factors without forming their product. */
const decompose = (update: LoraUpdate | DenseUpdate): Svd =>
  "delta" in update ? svd(update.delta) : recompress({ left: update.B.mul(update.scale), right: update.A });

/** The least k with Σ_{j ≤ k} s_j² ≥ energy · Σ s_j², at least 1. */
function rankFor(s: ArrayLike<number>, energy: number): number {
  const squares = Array.from(s, (x) => x * x);
  const left = (1 - energy) * squares.reduceRight((a, b) => a + b, 0);
  let [kept, tail] = [squares.length, 0];
  // From the smallest, so that what is left out is right to its last digits.
  while (kept > 1 && tail + squares[kept - 1]! <= left) tail += squares[--kept]!;
  return kept;
}

/**
 * The nearest LoRA of a rank to a change of weights, layer by layer: of an adapter (`loraUpdates`), of any other method
 * (`weightUpdates`) or of a checkpoint (`checkpointUpdates`).
 *
 *     s · B A = U_k diag(σ_k) V_kᵀ,   ‖Δ − s B A‖_F² = Σ_{j > k} σ_j²
 *
 * With `energy` each layer gets the least rank, from 1 on, that keeps this share of Σ σ²; for two factors the product is not
 * formed. The result has scale 1 and B = U √σ, A = √σ Vᵀ.
 *
 * Source: Eckart and Young 1936.
 *
 * @example
 * ```ts
 * const smaller = await truncateUpdates(loraUpdates(adapted), { energy: 0.95 });
 * ```
 * @throws ConfigError unless exactly one of rank (an integer of at least 1) and energy (above 0, up to 1) is given
 * @category Composition
 */
export async function truncateUpdates(updates: WeightUpdates, rule: UpdateTruncation): Promise<LoraUpdates> {
  checkTruncation("truncateUpdates", rule);
  const { rank, energy } = rule as Partial<Truncation> & { rank?: number; energy?: number };
  const parts = [...updates].map(([path, update]) => ({ path, kind: update.kind, svd: decompose(update) }));
  await evaluate(...parts.flatMap(({ svd: { u, s, vt } }) => [u, s, vt]));
  const result = new Map<string, LoraUpdate>();
  for (const { path, kind, svd } of parts) {
    const most = svd.s.size;
    const kept = energy === undefined ? Math.min(rank!, most) : rankFor(await svd.s.data(), energy);
    result.set(path, { kind, ...balanced(svd, kept), scale: 1 });
  }
  await evaluate(...[...result.values()].flatMap(({ A, B }) => [A, B]));
  return result;
}
