import { arange, concat, cos, rope, sin, type Tensor } from "@lowrank/tensor";

/** Places that share a table of angles. */
const BLOCK = 64;

/**
 * `rope` of x [batch, S, heads, D] at the positions 0 .. S − 1. They are p = 64 a + b, so cosines and sines of S / 64 + 64 angles
 * for each frequency make all of them:
 *
 *     cos(p f) = cos(64 a f) cos(b f) − sin(64 a f) sin(b f),   sin(p f) = sin(64 a f) cos(b f) + cos(64 a f) sin(b f)
 *
 * A whole cache that turns as it is read would take S of each at every token.
 */
export function ropePlaces(x: Tensor, inverseFrequencies: Tensor): Tensor {
  const [batch, length, heads, size] = x.shape as [number, number, number, number];
  if (length % BLOCK !== 0) {
    return rope(x, arange(0, length, 1, { dtype: "i32" }).reshape([1, length]), inverseFrequencies);
  }
  const half = size / 2;
  const angles = (count: number, step: number, dims: readonly number[]): Tensor =>
    arange(0, count * step, step, { dtype: x.dtype })
      .reshape([count, 1])
      .mul(inverseFrequencies.astype(x.dtype))
      .reshape([...dims, 1, half]);
  const blocks = length / BLOCK;
  const far = angles(blocks, BLOCK, [1, blocks, 1]);
  const near = angles(BLOCK, 1, [1, 1, BLOCK]);
  const [cosFar, sinFar, cosNear, sinNear] = [cos(far), sin(far), cos(near), sin(near)];
  const c = cosFar.mul(cosNear).sub(sinFar.mul(sinNear)); // [1, S / 64, 64, 1, D / 2]
  const s = sinFar.mul(cosNear).add(cosFar.mul(sinNear));
  const y = x.reshape([batch, blocks, BLOCK, heads, size]);
  const [a, b] = [[0, half] as const, [half, size] as const].map(([from, to]) =>
    y.slice([null, null, null, null, [from, to]]),
  ) as [Tensor, Tensor];
  return concat([a.mul(c).sub(b.mul(s)), b.mul(c).add(a.mul(s))], 4).reshape(x.shape);
}
