import type { Variant } from "./matmul-block.js";
import type { Product } from "./product.js";

/** Registers and blocks of 8 × 8 threads, and rows that all threads of a workgroup share. */
const WIDE: readonly Partial<Variant>[] = [
  { shared: false, high: 8, wide: 8, rows: 4, columns: 4 },
  { shared: false, high: 8, wide: 8, rows: 8, columns: 8 },
  { shared: true, high: 8, wide: 8, rows: 4, columns: 4 },
  { shared: true, high: 8, wide: 8, rows: 8, columns: 8 },
  { shared: false, high: 4, wide: 16, rows: 8, columns: 4 },
  { shared: false, high: 1, wide: 8, rows: 8, columns: 8 },
];

/** A name that is kept: two ways with the same name are the same. */
export const nameOf = ({ shared, high, wide, rows, columns }: Variant): string =>
  `${shared ? "shared" : "direct"} ${high}x${wide} ${rows}x${columns}`;

/**
 * Ways to form a product that are worth measuring, `fixed` first. All have its lanes and its parts of k, so that they add in
 * one order and give the same bits.
 */
export function waysOf({ M }: Product, fixed: Variant): Variant[] {
  const ways =
    fixed.lanes === 1 && fixed.high * fixed.wide === 64
      ? WIDE
      : [1, 2, 4, 8].filter((rows) => rows < 2 * M).map((rows): Partial<Variant> => ({ rows }));
  const all = [fixed, ...ways.map((way) => ({ ...fixed, ...way }))];
  return [...new Map(all.map((way) => [nameOf(way), way])).values()];
}
