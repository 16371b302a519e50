import type { Tensor } from "@lowrank/tensor";

export { crossEntropy } from "@lowrank/tensor";

export interface MseOptions {
  /** Default "mean". */
  reduction?: "mean" | "sum" | "none";
}

/** Squared error (x − y)², averaged, summed, or per element. */
export function mse(prediction: Tensor, target: Tensor, { reduction = "mean" }: MseOptions = {}): Tensor {
  const error = prediction.sub(target).square();
  if (reduction === "none") return error;
  return reduction === "sum" ? error.sum() : error.mean();
}
