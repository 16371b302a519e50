import { type KernelGroup, sizeOf } from "@lowrank/tensor/backend";
import type { EmitContext } from "../emit.js";
import type { Traits } from "../emit-traits.js";
import { emitProduct, type Variant } from "./matmul-block.js";
import type { Product } from "./product.js";

const square = (shared: boolean, rows: number, columns: number): Variant => ({
  shared,
  high: 8,
  wide: 8,
  lanes: 1,
  rows,
  columns,
  split: 1,
});

/** Workgroups that fill a GPU: more of them gain nothing. */
const FULL = 128;
const THREADS = 64;
/** Shortest part of k worth a second dispatch. */
const PART = 256;
const powerAbove = (n: number): number => 2 ** Math.ceil(Math.log2(Math.max(1, n)));

/** How a product is formed where nothing was measured: by shape and kind of device alone. */
export function variantFor(p: Product, traits: Traits): Variant {
  const { M, N, K } = p;
  const batch = sizeOf(p.batch);
  if (M > 16 && N > 16) {
    const large = batch * Math.ceil(M / 64) * Math.ceil(N / 64);
    if (traits.software) return large >= 4 ? square(false, 8, 8) : square(false, 4, 4);
    if (large >= 64) return square(true, 8, 8);
    return { ...square(true, 4, 4), split: splitFor(batch * Math.ceil(M / 32) * Math.ceil(N / 32), K) };
  }
  // Narrow results: as many threads as they need, the rest along k.
  const rows = Math.min(4, M);
  const wide = Math.min(8, powerAbove(N / 4));
  const most = Math.min(THREADS / wide, powerAbove(M / rows));
  const cells = batch * Math.ceil(M / rows) * Math.ceil(N / 4);
  const wanted = Math.min(powerAbove(K / 16), powerAbove((FULL * THREADS) / cells), 32);
  const high = Math.max(1, Math.min(most, THREADS / wide / wanted));
  const narrow = Math.max(1, Math.min(wide, THREADS / high / wanted));
  const lanes = THREADS / high / narrow;
  const groups = batch * Math.ceil(M / (rows * high)) * Math.ceil(N / (4 * narrow));
  return { shared: false, high, wide: narrow, lanes, rows, columns: 4, split: splitFor(groups, K / lanes) };
}

const splitFor = (groups: number, K: number): number =>
  Math.max(1, Math.min(Math.floor(FULL / 2 / groups), Math.floor(K / PART)));

/** Emits a product in the fastest way that was measured, or as its shape says. */
export function emitBest(group: KernelGroup, p: Product, ctx: EmitContext): void {
  const fixed = variantFor(p, ctx.traits);
  emitProduct(group, p, ctx.tuner?.choose(group, p, fixed, ctx) ?? fixed, ctx);
}
