import { ConfigError, minimum, type Tensor } from "@lowrank/tensor";

/** √(Σ g²) over all numbers of all gradients, in f32. Lazy. */
export function globalNorm(grads: ReadonlyMap<string, Tensor>): Tensor {
  const squares = [...grads.values()].map((g) => (g.dtype === "f64" ? g : g.astype("f32")).square().sum());
  if (squares.length === 0)
    throw new ConfigError({ where: "globalNorm", expected: "gradients", got: "none" });
  return squares.reduce((a, b) => a.add(b)).sqrt();
}

/**
 * Scales gradients together so that their common norm is at most `max`:
 *
 *     g' = g · min(1, max / (‖g‖ + 1e-6))
 *
 * Lazy: the norm and the scale are part of the optimizer's plan. The small number in the denominator is PyTorch's.
 *
 * Source: Pascanu et al. 2012, arXiv:1211.5063, section 3.2.
 *
 * @returns The scaled gradients and the norm before scaling.
 */
export function clipByGlobalNorm(
  grads: ReadonlyMap<string, Tensor>,
  max: number,
): { grads: Map<string, Tensor>; norm: Tensor } {
  if (!(max > 0))
    throw new ConfigError({ where: "clipByGlobalNorm", expected: "a positive norm", got: String(max) });
  const norm = globalNorm(grads);
  const scale = minimum(norm.add(1e-6).pow(-1).mul(max), 1);
  const scaled = [...grads].map(([path, g]): [string, Tensor] => [
    path,
    g.mul(g.dtype === scale.dtype ? scale : scale.astype(g.dtype)),
  ]);
  return { grads: new Map(scaled), norm };
}
