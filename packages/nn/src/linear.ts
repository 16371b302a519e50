import { type DType, type Key, matmul, type Parameter, ShapeError, type Tensor } from "@lowrank/tensor";
import type { Adaptable, Overlay } from "./adaptable.js";
import { affineStart } from "./init.js";
import { Module } from "./module.js";
import { QuantizedWeight } from "./quantized-weight.js";

export interface LinearOptions {
  /** Whether a bias is added. Default true. */
  bias?: boolean;
  /** Random start; without a key the weight starts at zero, to be loaded. */
  key?: Key;
  /** Storage type. Default f32. */
  dtype?: DType;
}

/**
 * Affine map over the last axis: y = x Wᵀ + b, with x [..., in], W [out, in], b [out].
 *
 * A weight stored as f16, bf16 or in codes is widened to the dtype of x inside the multiplication. Random start as in
 * PyTorch: W and b uniform within ±1/√in.
 */
export class Linear extends Module implements Adaptable {
  readonly kind = "linear";
  weight: Parameter;
  bias: Parameter | null;
  /** @internal */
  _overlay: Overlay | null = null;

  constructor(
    readonly inFeatures: number,
    readonly outFeatures: number,
    { bias = true, key, dtype = "f32" }: LinearOptions = {},
  ) {
    super();
    const start = affineStart([outFeatures, inFeatures], { bias, key, dtype });
    this.weight = start.weight;
    this.bias = start.bias;
  }

  forward(x: Tensor): Tensor {
    return this._overlay ? this._overlay.forward(x, this) : this.withWeight(x, this.weight);
  }

  denseWeight(): Tensor {
    return this.weight;
  }

  withWeight(x: Tensor, weight: Tensor): Tensor {
    if (x.shape.at(-1) !== this.inFeatures) {
      throw new ShapeError({
        where: "Linear",
        expected: `an input of shape [..., ${this.inFeatures}]`,
        got: `[${x.shape.join(", ")}]`,
      });
    }
    const y = weight instanceof QuantizedWeight ? weight.product(x) : matmul(x, like(weight, x).T);
    return this.bias === null ? y : y.add(like(this.bias, y));
  }
}

/** `t` in the dtype of `other`: a view in the graph, widened where it is read. */
export const like = (t: Tensor, other: Tensor): Tensor =>
  t.dtype === other.dtype ? t : t.astype(other.dtype);
