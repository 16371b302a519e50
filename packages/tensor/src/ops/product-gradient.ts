import { sizeOf } from "../shape.js";
import type { Tensor } from "../tensor.js";
import { mul } from "./arithmetic.js";
import { iota, zeros } from "./create.js";
import { lt, where } from "./logic.js";
import { flip, permute, reshape, slice } from "./movement.js";
import { pad } from "./pad.js";

/**
 * dy · Π of all other factors, for every factor of a product along `axes`.
 *
 * Nothing is divided, so zeros are no special case and the result is a polynomial that can be differentiated again. A
 * binary tree of products is built upwards; on the way down each child gets what its parent got, times its sibling.
 */
export function productGradient(dy: Tensor, x: Tensor, axes: readonly number[]): Tensor {
  const kept = x.shape.map((_, d) => d).filter((d) => !axes.includes(d));
  const order = [...kept, ...axes];
  const count = sizeOf(axes.map((d) => x.shape[d]!));
  const outer = kept.map((d) => x.shape[d]!);
  const rows = sizeOf(outer);
  if (count === 0 || rows === 0) return zeros(x.shape, { dtype: x.dtype });
  const width = 2 ** Math.ceil(Math.log2(count));
  const flat = reshape(permute(x, order), [rows, count]);
  const padded = where(
    lt(iota([width]), count),
    pad(flat, [
      [0, 0],
      [0, width - count],
    ]),
    1,
  );

  const levels = [padded]; // [rows, width], [rows, width / 2], ..., [rows, 2]
  for (let n = width; n > 2; n /= 2) {
    const pairs = reshape(levels.at(-1)!, [rows, n / 2, 2]);
    levels.push(mul(slice(pairs, [null, null, 0]), slice(pairs, [null, null, 1])));
  }
  let down = reshape(permute(dy, order), [rows, 1]);
  if (width > 1) {
    for (const level of levels.reverse()) {
      const n = level.shape[1]! / 2;
      const siblings = flip(reshape(level, [rows, n, 2]), 2);
      down = reshape(mul(reshape(down, [rows, n, 1]), siblings), [rows, 2 * n]);
    }
  }
  const back = reshape(
    slice(down, [null, [0, count]]),
    order.map((d) => x.shape[d]!),
  );
  return permute(back, inverse(order));
}

function inverse(order: readonly number[]): number[] {
  const at = new Array<number>(order.length);
  for (let d = 0; d < order.length; d++) at[order[d]!] = d;
  return at;
}
