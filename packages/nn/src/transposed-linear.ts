import {
  type DType,
  matmul,
  type Parameter,
  parameter,
  ShapeError,
  type Tensor,
  zeros,
} from "@lowrank/tensor";
import type { Adaptable, Overlay } from "./adaptable.js";
import { like } from "./linear.js";
import { Module } from "./module.js";

/**
 * Affine map over the last axis whose weight is stored as [in, out]: y = x W + b. GPT-2's checkpoints have it under the name
 * Conv1D. To adapters it is a linear layer as any other: what they see and give is [out, in].
 */
export class TransposedLinear extends Module implements Adaptable {
  readonly kind = "linear";
  /** [in, out]. */
  weight: Parameter;
  bias: Parameter;
  /** @internal */
  _overlay: Overlay | null = null;

  constructor(
    readonly inFeatures: number,
    readonly outFeatures: number,
    { dtype = "f32" }: { dtype?: DType } = {},
  ) {
    super();
    this.weight = parameter(zeros([inFeatures, outFeatures], { dtype }));
    this.bias = parameter(zeros([outFeatures], { dtype }));
  }

  forward(x: Tensor): Tensor {
    return this._overlay ? this._overlay.forward(x, this) : this.withWeight(x, this.weight);
  }

  /** [out, in]. */
  denseWeight(): Tensor {
    return this.weight.T;
  }

  asStored(weight: Tensor): Tensor {
    return weight.T;
  }

  /** Another weight is [out, in], as `denseWeight` gives it; the layer's own is taken as it is. */
  withWeight(x: Tensor, weight: Tensor): Tensor {
    if (x.shape.at(-1) !== this.inFeatures) {
      throw new ShapeError({
        where: "TransposedLinear",
        expected: `an input of shape [..., ${this.inFeatures}]`,
        got: `[${x.shape.join(", ")}]`,
      });
    }
    const w = like(weight, x);
    const y = matmul(x, weight === this.weight ? w : w.T);
    return y.add(like(this.bias, y));
  }
}
