import { Linear, Module } from "@lowrank/nn";
import { attention, type DType, type Tensor } from "@lowrank/tensor";

/** Attention of every place to every other without its last projection, with the field names of BERT's checkpoints. */
export class SelfAttention extends Module {
  query: Linear;
  key: Linear;
  value: Linear;

  constructor(
    width: number,
    readonly heads: number,
    { bias = true, dtype }: { bias?: boolean; dtype: DType },
  ) {
    super();
    this.query = new Linear(width, width, { bias, dtype });
    this.key = new Linear(width, width, { bias, dtype });
    this.value = new Linear(width, width, { bias, dtype });
  }

  /** x [batch, T, width], mask bool broadcastable to [batch, heads, T, T]. */
  forward(x: Tensor, mask?: Tensor): Tensor {
    const [batch, length, width] = x.shape as [number, number, number];
    const heads = (t: Tensor): Tensor => t.reshape([batch, length, this.heads, width / this.heads]);
    const o = attention(
      heads(this.query.forward(x)),
      heads(this.key.forward(x)),
      heads(this.value.forward(x)),
      mask === undefined ? {} : { mask },
    );
    return o.reshape([batch, length, width]);
  }
}
