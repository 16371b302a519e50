import type { ChainSpec } from "./chain.js";
import type { DecoderSpec } from "./decoder.js";
import type { LayerNormSpec } from "./layernorm.js";
import type { MatmulSpec } from "./matmul.js";
import type { MlpSpec } from "./mlp.js";
import type { SoftmaxSpec } from "./softmax.js";

/** What a row computes, whole and as plain JSON: a contender of any language reads it and needs nothing else. */
export type Spec = MatmulSpec | ChainSpec | SoftmaxSpec | LayerNormSpec | MlpSpec | DecoderSpec;

export interface Row {
  name: string;
  spec: Spec;
  /** How far two contenders may differ, relative to the size of what is compared. */
  tolerance: number;
}
