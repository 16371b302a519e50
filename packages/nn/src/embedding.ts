import {
  type DType,
  type Key,
  normal,
  type Parameter,
  parameter,
  take,
  type Tensor,
  zeros,
} from "@lowrank/tensor";
import type { Adaptable, Overlay } from "./adaptable.js";
import { Module } from "./module.js";
import { QuantizedWeight } from "./quantized-weight.js";

export interface EmbeddingOptions {
  /** Random start, N(0, std²); without a key the table starts at zero, to be loaded. */
  key?: Key;
  /** Default 1, as in PyTorch. */
  std?: number;
  /** Storage type. Default f32. */
  dtype?: DType;
  /** The dtype of the rows that come out. Default f32. */
  outputDtype?: DType;
}

/**
 * A table of rows: ids [...] of dtype i32 give rows [..., width] of the weight [entries, width]. Rows stored as f16,
 * bf16 or in codes come out as f32. An id outside the table reads row 0 on every backend; check ids where they are made.
 */
export class Embedding extends Module implements Adaptable {
  readonly kind = "embedding";
  weight: Parameter;
  readonly bias = null;
  readonly outputDtype: DType;
  /** @internal */
  _overlay: Overlay | null = null;

  constructor(
    readonly entries: number,
    readonly width: number,
    { key, std = 1, dtype = "f32", outputDtype = "f32" }: EmbeddingOptions = {},
  ) {
    super();
    const dims = [entries, width];
    this.weight = parameter(key ? normal(dims, { key, std, dtype }) : zeros(dims, { dtype }));
    this.outputDtype = outputDtype;
  }

  forward(ids: Tensor): Tensor {
    return this._overlay ? this._overlay.forward(ids, this) : this.withWeight(ids, this.weight);
  }

  denseWeight(): Tensor {
    return this.weight;
  }

  withWeight(ids: Tensor, weight: Tensor): Tensor {
    if (weight instanceof QuantizedWeight) return weight.rows(ids, this.outputDtype);
    const rows = take(weight, ids, 0);
    return rows.dtype === this.outputDtype ? rows : rows.astype(this.outputDtype);
  }
}
