import { expectFloat } from "../dtype.js";
import { ConfigError, ShapeError } from "../errors.js";
import { defineOp, type OpDef } from "../op.js";
import { sameDims, showDims } from "../shape.js";
import { apply, applyMulti, type Tensor } from "../tensor.js";
import { arange } from "./create.js";
import {
  add,
  and,
  cast,
  div,
  eq,
  exp,
  ge,
  gt,
  log,
  lt,
  maximum,
  mul,
  ne,
  sub,
  where,
} from "./elementwise.js";
import { asIndex, castTo, expectDims, expectDtype, expectRank, wideDtype, widen } from "./expect.js";
import { takeAlongAxis } from "./gather.js";
import { reshape } from "./movement.js";
import { sum } from "./reduce.js";
import { rowShift } from "./softmax.js";

export interface CrossEntropyArg {
  /** Rows with this label count for nothing. */
  readonly ignoreIndex: number;
}

const column = (x: Tensor): Tensor => reshape(x, [...x.shape, 1]);

/** exp(logits - lse), the probabilities; a row of only -∞ gives zeros. */
function probabilities(logits: Tensor, lse: Tensor): Tensor {
  const shift = column(where(gt(lse, Number.NEGATIVE_INFINITY), lse, 0));
  return exp(sub(widen(logits), shift));
}

/**
 * Cross-entropy of rows of logits against integer labels:
 *
 *     loss[n] = lse[n] - logits[n, labels[n]], lse[n] = log Σ_v exp(logits[n, v])
 *
 * logits [N, V] float, labels [N] i32; results loss and lse [N] in f32. loss is 0 where labels[n] = ignoreIndex (lse is
 * computed all the same) and NaN where a label is neither that nor in 0 .. V-1. Of the [N, V] probabilities nothing is
 * kept: the gradient makes them again from logits and lse.
 */
export const crossEntropyOp: OpDef<CrossEntropyArg> = /* @__PURE__ */ defineOp<CrossEntropyArg>(
  "crossEntropy",
  {
    kind: "composite",
    infer([logits, labels]) {
      expectFloat("crossEntropy", "logits", logits!.dtype);
      expectRank("crossEntropy", "logits", logits!.dims, 2, "[N, V]");
      expectDtype("crossEntropy", "labels", labels!.dtype, "i32");
      expectDims("crossEntropy", "labels", labels!.dims, logits!.dims.slice(0, 1));
      const row = { dtype: wideDtype(logits!.dtype), dims: labels!.dims };
      return [row, row];
    },
    vjp(_dy, { inputs: [logits, labels], outputs: [, lse], arg, needs, dys: [dy, dlse] }) {
      if (!needs[0]) return [null, null];
      const direct = dy ? apply(crossEntropyBackwardOp, [logits!, labels!, lse!, dy], arg) : null;
      if (!dlse) return [direct, null];
      // dlse/dlogits = softmax(logits)
      const through = castTo(mul(probabilities(logits!, lse!), column(dlse)), logits!.dtype);
      return [direct ? add(direct, through) : through, null];
    },
    meaning([logits, labels], { ignoreIndex }) {
      const wide = widen(logits!);
      const shift = rowShift(wide);
      const lse = reshape(add(log(sum(exp(sub(wide, shift)), -1, { keepDims: true })), shift), labels!.shape);
      const picked = reshape(takeAlongAxis(wide, column(labels!), -1), labels!.shape);
      const known = and(ge(labels!, 0), lt(labels!, logits!.shape[1]!));
      const loss = where(known, sub(lse, picked), Number.NaN);
      return [where(ne(labels!, ignoreIndex), loss, 0), lse];
    },
  },
);

/**
 * Gradient of `crossEntropy` with respect to the logits:
 *
 *     dlogits[n, v] = (exp(logits[n, v] - lse[n]) - [v = labels[n]]) · dy[n], 0 for ignored rows
 *
 * Inputs logits [N, V], labels [N], lse [N], dy [N].
 */
export const crossEntropyBackwardOp: OpDef<CrossEntropyArg> = /* @__PURE__ */ defineOp<CrossEntropyArg>(
  "crossEntropyBackward",
  {
    kind: "composite",
    infer: ([logits]) => logits!,
    meaning([logits, labels, lse, dy], { ignoreIndex }) {
      const target = eq(column(labels!), arange(0, logits!.shape[1]!, 1, { dtype: "i32" }));
      const error = sub(probabilities(logits!, lse!), cast(target, lse!.dtype));
      const kept = column(ne(labels!, ignoreIndex));
      return castTo(where(kept, mul(error, column(dy!)), 0), logits!.dtype);
    },
  },
);

export interface CrossEntropyOptions {
  /** Label of positions that count for nothing. Default -100. */
  ignoreIndex?: number;
  /** Average over the labels kept (default), their sum, or one loss per label. */
  reduction?: "mean" | "sum" | "none";
}

/**
 * Cross-entropy in nats of `logits` [.., V] against integer `labels` [..]: -log softmax(logits)[label]. Positions with
 * the label `ignoreIndex` give 0 and no gradient; the mean divides by the number of the others (by 1 if there is none).
 * Another label outside 0 .. V-1 gives NaN.
 *
 * @example
 * ```ts
 * const loss = crossEntropy(model.forward(ids), labels); // scalar
 * ```
 * @category Softmax and losses
 */
export function crossEntropy(
  logits: Tensor,
  labels: Tensor,
  { ignoreIndex = -100, reduction = "mean" }: CrossEntropyOptions = {},
): Tensor {
  if (!Number.isInteger(ignoreIndex)) {
    throw new ConfigError({
      where: "crossEntropy",
      expected: "ignoreIndex to be an integer",
      got: String(ignoreIndex),
    });
  }
  if (reduction !== "mean" && reduction !== "sum" && reduction !== "none") {
    throw new ConfigError({
      where: "crossEntropy",
      expected: 'reduction "mean", "sum" or "none"',
      got: String(reduction),
    });
  }
  if (logits.ndim === 0 || !sameDims(logits.shape.slice(0, -1), labels.shape)) {
    throw new ShapeError({
      where: "crossEntropy",
      expected: `logits [.., V] with the axes of labels, ${showDims(labels.shape)}, before V`,
      got: showDims(logits.shape),
    });
  }
  const rows = reshape(asIndex("crossEntropy", "labels", labels), [labels.size]);
  const flat = reshape(logits, [labels.size, logits.shape[logits.ndim - 1]!]);
  const loss = applyMulti(crossEntropyOp, [flat, rows], { ignoreIndex })[0]!;
  if (reduction === "none") return reshape(loss, labels.shape);
  if (reduction === "sum") return sum(loss);
  const count = sum(cast(ne(rows, ignoreIndex), loss.dtype));
  return div(sum(loss), maximum(count, 1));
}
