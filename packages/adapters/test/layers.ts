import type { Attached, Target } from "@lowrank/adapters";
import type { LayerKind } from "@lowrank/nn";
import { evaluate, key, normal, type Tensor } from "@lowrank/tensor";

/** A convolution as an adapter sees it. */
export const convTarget = (channels: number, out: number, kernel: readonly number[], groups = 1): Target => ({
  ...targetOf(kernel.length === 1 ? "conv1d" : "conv2d", channels * kernel.reduce((a, b) => a * b), out),
  filter: { channels, kernel, groups },
});

/** A layer as an adapter sees it. */
export const targetOf = (kind: LayerKind, inFeatures: number, outFeatures: number): Target => ({
  path: "layer",
  kind,
  inFeatures,
  outFeatures,
  weightShape: kind === "embedding" ? [inFeatures, outFeatures] : [outFeatures, inFeatures],
  dtype: "f32",
});

export const read = async (t: Tensor): Promise<number[]> => Array.from(await t.data());

/** The adapter with every trained parameter drawn anew. */
export async function randomised(attached: Attached, seed: number, std = 1): Promise<Attached> {
  await evaluate(
    ...[...attached.parameters()]
      .filter(([, p]) => p.trainable)
      .map(([path, p]) => p.assign(normal(p.shape, { key: key(seed).foldName(path), std }))),
  );
  return attached;
}

/** Refuses numbers that differ by more than `tolerance` of the largest. */
export function close(got: readonly number[], want: readonly number[], tolerance: number): void {
  if (got.length !== want.length) throw new Error(`expected ${want.length} numbers, got ${got.length}`);
  const size = Math.max(1, ...want.map(Math.abs));
  for (const [i, w] of want.entries()) {
    if (!(Math.abs(got[i]! - w) <= tolerance * size))
      throw new Error(`place ${i}: expected ${w} to ${tolerance} of ${size}, got ${got[i]}`);
  }
}
