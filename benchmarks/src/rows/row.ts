import type { AttentionSpec } from "./attention.js";
import type { ChainSpec } from "./chain.js";
import type { DecoderSpec } from "./decoder.js";
import type { DecompositionSpec } from "./decomposition.js";
import type { LayerNormSpec } from "./layernorm.js";
import type { MatmulSpec } from "./matmul.js";
import type { MatvecSpec } from "./matvec.js";
import type { MlpSpec } from "./mlp.js";
import type { ProbeSpec } from "./probe.js";
import type { RankSpec } from "./rank.js";
import type { SoftmaxSpec } from "./softmax.js";
import type { StartSpec } from "./start.js";

/** What a job computes, whole and as plain JSON: a contender of any language reads it and needs nothing else. */
export type Spec =
  | MatmulSpec
  | RankSpec
  | ChainSpec
  | SoftmaxSpec
  | LayerNormSpec
  | AttentionSpec
  | MlpSpec
  | DecoderSpec
  | MatvecSpec
  | DecompositionSpec
  | ProbeSpec;

export interface Row {
  name: string;
  spec: Spec | StartSpec;
  /** How far two contenders may differ, relative to the size of what is compared. */
  tolerance: number;
  /** The first run in a fresh process is what is timed, each time in another process. */
  fresh?: true;
  /** A run with more threads leaves it out, unless it is asked for by name. */
  oneThread?: true;
  /** Left out unless it is asked for by name. */
  onlyNamed?: true;
}
