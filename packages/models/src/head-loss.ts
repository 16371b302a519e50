import { checkpoint, ConfigError, crossEntropy, customVjp, type Tensor, valueAndGrad } from "@lowrank/tensor";

/** A label with this value is no target. */
export const IGNORED_LABEL = -100;

/** Numbers in the logits that exist at a time, where nobody says how many rows: 128 MiB in f32. */
const MAX_LOGITS = 2 ** 25;

export interface HeadLossOptions {
  /** The output head: rows [n, width] to logits [n, vocabulary]. */
  logits: (rows: Tensor) => Tensor;
  /** Length of a row of logits. */
  vocabSize: number;
  /** Whether nothing of the head is trained. */
  frozen: boolean;
  /** Rows of logits that exist at a time. */
  lossRows?: number | undefined;
}

/**
 * Sum of −log p(target) over rows [n, width] with targets [n], a part of the rows at a time, so that neither the logits
 * nor their gradient ever exist as a whole:
 *
 *     loss = Σ_parts ℓ(head(x_p), t_p),   dx_p = dloss · ∂ℓ/∂x_p
 *
 * Where the head is frozen, ∂ℓ/∂x_p [rows, width] is computed right behind the loss of its part, from the same logits, and
 * kept until dloss arrives: no product is done twice, and n · width numbers are kept instead of n · vocabulary. A head that
 * is trained has its logits computed again in the backward pass instead. Without a backward pass no gradient is computed.
 *
 * Source: Hsu et al. 2024, arXiv:2410.10989, section 3.2 ("FusedLinearCrossEntropy").
 */
export function headLoss(
  rows: Tensor,
  targets: Tensor,
  { logits, vocabSize, frozen, lossRows }: HeadLossOptions,
): Tensor {
  if (lossRows !== undefined && (!Number.isInteger(lossRows) || lossRows < 1)) {
    throw new ConfigError({
      where: "loss",
      expected: "lossRows to be a positive integer",
      got: String(lossRows),
    });
  }
  const count = targets.size;
  const size = lossRows ?? evenPart(count, Math.max(1, Math.floor(MAX_LOGITS / vocabSize)));
  const lossOf = (x: Tensor, t: Tensor): Tensor =>
    crossEntropy(logits(x), t, { ignoreIndex: IGNORED_LABEL, reduction: "sum" });
  if (size >= count) return lossOf(rows, targets);
  let sum: Tensor | undefined;
  for (let from = 0; from < count; from += size) {
    const range = [from, Math.min(from + size, count)] as const;
    const ofPart = (x: Tensor): Tensor => lossOf(x, targets.slice([[...range]]));
    const part = (frozen ? withGradientAhead(ofPart) : checkpoint(ofPart))(rows.slice([[...range], null]));
    sum = sum === undefined ? part : sum.add(part);
  }
  return sum!;
}

/** The largest part that `most` allows, of about the size of the others. */
const evenPart = (count: number, most: number): number => Math.ceil(count / Math.ceil(count / most));

/** A scalar function of x that nothing else is trained in, with its gradient made together with its value. */
function withGradientAhead(f: (x: Tensor) => Tensor): (x: Tensor) => Tensor {
  const both = customVjp(
    (x) => {
      const { value, grads } = valueAndGrad(f)(x!);
      return [value, grads[0]!];
    },
    ({ outputs: [, gradient], dys: [dy] }) => [dy ? gradient!.mul(dy.astype(gradient!.dtype)) : null],
  );
  return (x) => both(x)[0]!;
}
