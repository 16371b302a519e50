import { argsort, bits, key as makeKey, type Key, lt, slice, stack, type Tensor } from "@lowrank/tensor";
import { type Adapter, defineAdapter, type Target } from "./adapter.js";
import { expectInteger, expectNumber } from "./expect.js";

export interface CapaBoostConfig {
  /** Number of copies side by side. Default 2. */
  copies?: number;
  /** Share of the numbers that each copy sees, above 0 and up to 1. Default 0.5. */
  density?: number;
  /** What the masks are drawn from, with the layer's path and the parameter's name. Default 0. */
  seed?: number;
}

type Params = Readonly<Record<string, Tensor>>;

const COPIES = 2;
const DENSITY = 0.5;

/** A mask with ⌊n p⌋ ones at random places, the same on every backend: where the places' random integers are least. */
export function fixedCountMask(dims: readonly number[], density: number, key: Key): Tensor {
  const n = dims.reduce((a, b) => a * b, 1);
  const places = argsort(argsort(bits([n], { key })));
  return lt(places, Math.floor(n * density)).reshape(dims);
}

/** Masks of all copies for one parameter, [copies, ...]. */
function masks(config: CapaBoostConfig, { path, dtype }: Target, field: string, { shape }: Tensor): Tensor {
  const { copies = COPIES, density = DENSITY, seed = 0 } = config;
  const own = makeKey(seed).foldName(path).foldName(field);
  const each = Array.from({ length: copies }, (_, i) => fixedCountMask(shape, density, own.fold(i)));
  return stack(each.map((mask) => mask.astype(dtype)));
}

/** The parameters that copy i sees. */
function seenBy(i: number, params: Params, fields: readonly string[]): Params {
  const seen: Record<string, Tensor> = { ...params };
  for (const field of fields) {
    const mask = slice(params[`mask_${field}`]!, [[i, i + 1]]).reshape(params[field]!.shape);
    seen[field] = params[field]!.mul(mask);
  }
  return seen;
}

/**
 * CapaBoost: several copies of an adapter side by side, which share its parameters, each seen through its own fixed mask.
 *
 *     W' = W + Σᵢ Δ(P ∘ Mᵢ),   i = 1 … copies
 *
 * where Δ(P) = merge(W, P) − W is what the adapter adds. `fields` are the parameters with masks. For LoRA the update
 * s Σᵢ (B ∘ Mᵢᴮ) (A ∘ Mᵢᴬ) reaches rank copies · rank with the parameters of rank `rank`. The masks have an exact number of ones,
 * follow from the seed and the layer's path, and are not saved. Its expected update is copies · density² times that of the
 * adapter, so alpha may have to grow. It starts as the adapter does.
 *
 * Source: Song et al. 2024, arXiv:2407.01320, section 3. The authors draw masks in the order in which layers are made; here
 * they hang on the path. Dropout, where the adapter has it, is drawn once for all copies.
 *
 * @example
 * ```ts
 * const boosted = capaBoost(lora, ["A", "B"]);
 * const adapted = attach(model, boosted, { rank: 8, alpha: 32, copies: 2 }, { targets: ["q_proj", "v_proj"] });
 * ```
 * @category Wrappers
 */
export function capaBoost<C extends object, P extends object>(
  inner: Adapter<C, P>,
  fields: readonly (keyof P & string)[],
): Adapter<C & CapaBoostConfig, P> {
  const adapter = inner as unknown as Adapter<C, Params>;
  const masked = fields.map((field) => `mask_${field}`);
  const copiesOf = ({ copies = COPIES }: CapaBoostConfig, params: Params): Params[] =>
    Array.from({ length: copies }, (_, i) => seenBy(i, params, fields));
  const boosted = defineAdapter<C & CapaBoostConfig, Params>({
    name: `capaBoost_${inner.name}`,
    kinds: inner.kinds,
    frozen: [...(inner.frozen ?? []), ...masked],
    derived: [...(inner.derived ?? []), ...masked],
    shared: adapter.shared && ((targets, config, key) => adapter.shared!(targets, config, key)),
    startsElsewhere: (config) => inner.startsElsewhere?.(config),
    startsWithin: (config) => inner.startsWithin?.(config) ?? 0,

    check(config, target) {
      const { copies = COPIES, density = DENSITY, seed = 0 } = config;
      expectInteger("capaBoost", "copies", copies, { min: 1 });
      expectNumber("capaBoost", "density", density, { min: Number.MIN_VALUE, below: 1 + 1e-12 });
      expectInteger("capaBoost", "seed", seed, { min: 0 });
      inner.check?.(config, target);
    },

    init(target, config, key, weight) {
      const params = adapter.init(target, config, key, weight) as Params;
      const own = fields.map((field) => [`mask_${field}`, masks(config, target, field, params[field]!)]);
      return { ...params, ...Object.fromEntries(own) };
    },

    forward:
      adapter.forward &&
      ((x, base, params, config, pass) => {
        const y = base(x);
        const below = (z: Tensor): Tensor => (z === x ? y : base(z));
        return copiesOf(config, params)
          .map((seen) => adapter.forward!(x, below, seen, config, pass).sub(y))
          .reduce((sum, update) => sum.add(update), y);
      }),

    merge: (W, params, config, target) =>
      copiesOf(config, params)
        .map((seen) => adapter.merge(W, seen, config, target).sub(W))
        .reduce((sum, update) => sum.add(update), W),
  });
  return boosted as unknown as Adapter<C & CapaBoostConfig, P>;
}
