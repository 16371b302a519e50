import {
  type DType,
  layerNorm,
  ones,
  type Parameter,
  parameter,
  rmsNorm,
  type Tensor,
  zeros,
} from "@lowrank/tensor";
import { like } from "./linear.js";
import { Module } from "./module.js";

export interface NormOptions {
  /** Added under the root. */
  eps?: number;
  /** Storage type. Default f32. */
  dtype?: DType;
}

/**
 * y = x / √(mean(x²) + eps) · w over the last axis, w [width] starting at one. Default eps 1e-6.
 *
 * Source: Zhang and Sennrich 2019, arXiv:1910.07467, eq. (4).
 */
export class RMSNorm extends Module {
  weight: Parameter;
  readonly eps: number;

  constructor(
    readonly width: number,
    { eps = 1e-6, dtype = "f32" }: NormOptions = {},
  ) {
    super();
    this.eps = eps;
    this.weight = parameter(ones([width], { dtype }));
  }

  forward(x: Tensor): Tensor {
    return rmsNorm(x, like(this.weight, x), { eps: this.eps });
  }
}

/**
 * y = (x − mean(x)) / √(variance(x) + eps) · w + b over the last axis, w and b [width]. Default eps 1e-5.
 *
 * Source: Ba et al. 2016, arXiv:1607.06450, section 3.
 */
export class LayerNorm extends Module {
  weight: Parameter;
  bias: Parameter;
  readonly eps: number;

  constructor(
    readonly width: number,
    { eps = 1e-5, dtype = "f32" }: NormOptions = {},
  ) {
    super();
    this.eps = eps;
    this.weight = parameter(ones([width], { dtype }));
    this.bias = parameter(zeros([width], { dtype }));
  }

  forward(x: Tensor): Tensor {
    return layerNorm(x, like(this.weight, x), like(this.bias, x), { eps: this.eps });
  }
}
