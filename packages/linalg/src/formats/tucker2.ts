import type { Tensor } from "@lowrank/tensor";
import { type TuckerTolerance, type Tucker, stHosvd } from "./tucker.js";
import { asTensor } from "./unfold.js";

/** The weight of a convolution as three smaller ones, one after the other. */
export class Tucker2 {
  constructor(
    /** What the channels of the input go through first, [r_in, in, 1, ...]. */
    readonly first: Tensor,
    /** The convolution with the kernel of the whole, [r_out, r_in, ...kernel]. */
    readonly core: Tensor,
    /** What gives the channels of the output, [out, r_out, 1, ...]. */
    readonly last: Tensor,
    private readonly whole: Tucker,
  ) {}

  /** The weight [out, in, ...kernel]. */
  reconstruct(): Tensor {
    return this.whole.reconstruct();
  }

  /** ‖weight - reconstruct()‖_F */
  error(weight: Tensor): Tensor {
    return this.whole.error(weight);
  }
}

/**
 * Takes the weight of a convolution [out, in, ...kernel] apart along its channels: a convolution with `first` (of size 1),
 * with `core` (the kernel; stride, padding and dilation belong here) and with `last` (of size 1) gives what one with
 * `reconstruct()` gives. It has in · r_in + r_out · r_in · kernel + out · r_out numbers.
 *
 * Source: Kim et al. 2016, arXiv:1511.06530, section 3.1; here by sequentially truncated decomposition, `stHosvd`.
 *
 * @throws as `stHosvd`
 * @category Formats
 */
export function tucker2(weight: Tensor, rule: { ranks: readonly [outRank: number, inRank: number] }): Tucker2;
export function tucker2(weight: Tensor, rule: Pick<TuckerTolerance, "tolerance">): Promise<Tucker2>;
export function tucker2(
  weight: Tensor,
  { ranks, tolerance }: { ranks?: readonly [number, number]; tolerance?: number },
): Tucker2 | Promise<Tucker2> {
  const x = asTensor("tucker2", weight, 2);
  const kernel = x.shape.slice(2).map(() => null);
  if (ranks === undefined && tolerance !== undefined)
    return stHosvd(x, { tolerance, modes: [0, 1] }).then(asConvolutions);
  const given = { ranks: ranks && [...ranks, ...kernel], tolerance };
  return asConvolutions(stHosvd(x, given as { ranks: readonly (number | null)[] }));
}

function asConvolutions(whole: Tucker): Tucker2 {
  const [out, input] = whole.factors as [Tensor, Tensor];
  const ones = whole.core.shape.slice(2).map(() => 1);
  const first = input.T.reshape([input.shape[1]!, input.shape[0]!, ...ones]);
  return new Tucker2(first, whole.core, out.reshape([...out.shape, ...ones]), whole);
}
