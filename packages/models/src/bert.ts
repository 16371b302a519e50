import { Dropout, Embedding, LayerNorm, Linear, Module } from "@lowrank/nn";
import { arange, checkpoint, type DType, tanh, type Tensor } from "@lowrank/tensor";
import { activation } from "./activation.js";
import type { Architecture } from "./architecture.js";
import { type BertConfig, bertConfigJson, parseBertConfig } from "./bert-config.js";
import { expectSameShape } from "./causal-lm.js";
import { EncoderModel, type EncoderOptions, expectIds, keyMask } from "./encoder-model.js";
import { SelfAttention } from "./self-attention.js";

/** Sum of the embeddings of token, part and position, normalized. */
class BertEmbeddings extends Module {
  word_embeddings: Embedding;
  position_embeddings: Embedding;
  token_type_embeddings: Embedding;
  LayerNorm: LayerNorm;
  dropout: Dropout;

  constructor(
    { vocabSize, hiddenSize, maxPositions, tokenTypes, layerNormEps, dropout }: BertConfig,
    dtype: DType,
  ) {
    super();
    this.word_embeddings = new Embedding(vocabSize, hiddenSize, { dtype });
    this.position_embeddings = new Embedding(maxPositions, hiddenSize, { dtype });
    this.token_type_embeddings = new Embedding(tokenTypes, hiddenSize, { dtype });
    this.LayerNorm = new LayerNorm(hiddenSize, { eps: layerNormEps, dtype });
    this.dropout = new Dropout(dropout);
  }

  forward(ids: Tensor, { tokenTypes, positions }: EncoderOptions): Tensor {
    if (tokenTypes !== undefined) expectSameShape("forward", "tokenTypes", tokenTypes, ids);
    const places = positions ?? arange(0, ids.shape[1]!, 1, { dtype: "i32" }).reshape([1, ids.shape[1]!]);
    const types = tokenTypes ?? places.mul(0);
    const sum = this.word_embeddings
      .forward(ids)
      .add(this.token_type_embeddings.forward(types))
      .add(this.position_embeddings.forward(places));
    return this.dropout.forward(this.LayerNorm.forward(sum));
  }
}

/** norm(residual + W x): the end of both halves of a block. */
class BertOutput extends Module {
  dense: Linear;
  LayerNorm: LayerNorm;
  dropout: Dropout;

  constructor(width: number, { hiddenSize, layerNormEps, dropout }: BertConfig, dtype: DType) {
    super();
    this.dense = new Linear(width, hiddenSize, { dtype });
    this.LayerNorm = new LayerNorm(hiddenSize, { eps: layerNormEps, dtype });
    this.dropout = new Dropout(dropout);
  }

  forward(x: Tensor, residual: Tensor): Tensor {
    return this.LayerNorm.forward(this.dropout.forward(this.dense.forward(x)).add(residual));
  }
}

class BertAttention extends Module {
  self: SelfAttention;
  output: BertOutput;

  constructor(config: BertConfig, dtype: DType) {
    super();
    this.self = new SelfAttention(config.hiddenSize, config.heads, { dtype });
    this.output = new BertOutput(config.hiddenSize, config, dtype);
  }

  forward(x: Tensor, mask: Tensor | undefined): Tensor {
    return this.output.forward(this.self.forward(x, mask), x);
  }
}

class BertIntermediate extends Module {
  dense: Linear;
  private readonly _activation: (x: Tensor) => Tensor;

  constructor(config: BertConfig, dtype: DType) {
    super();
    this.dense = new Linear(config.hiddenSize, config.intermediateSize, { dtype });
    this._activation = activation(config.activation);
  }

  forward(x: Tensor): Tensor {
    return this._activation(this.dense.forward(x));
  }
}

/** One block: h = norm(x + attention(x)), y = norm(h + W_out act(W_in h)). */
export class BertLayer extends Module {
  attention: BertAttention;
  intermediate: BertIntermediate;
  output: BertOutput;

  constructor(config: BertConfig, dtype: DType) {
    super();
    this.attention = new BertAttention(config, dtype);
    this.intermediate = new BertIntermediate(config, dtype);
    this.output = new BertOutput(config.intermediateSize, config, dtype);
  }

  forward(x: Tensor, mask: Tensor | undefined): Tensor {
    const h = this.attention.forward(x, mask);
    return this.output.forward(this.intermediate.forward(h), h);
  }
}

class BertEncoder extends Module {
  layer: BertLayer[];

  constructor(config: BertConfig, dtype: DType) {
    super();
    this.layer = Array.from({ length: config.layers }, () => new BertLayer(config, dtype));
  }
}

/** tanh(W x + b) of the state of the first token. */
class BertPooler extends Module {
  dense: Linear;

  constructor(config: BertConfig, dtype: DType) {
    super();
    this.dense = new Linear(config.hiddenSize, config.hiddenSize, { dtype });
  }

  forward(hidden: Tensor): Tensor {
    return tanh(this.dense.forward(hidden.slice([null, 0, null])));
  }
}

export interface BertOptions {
  /** Whether the state of the first token has a layer of its own on top. Default true. */
  pooler?: boolean;
  /** Storage type of the parameters. Default f32. */
  dtype?: DType | undefined;
}

/**
 * BERT without a head, which is also what MiniLM and most models of sentence embeddings are; parameter paths are those of
 * Hugging Face's BertModel. Parameters start at zero, to be loaded. In training mode numbers are dropped after embeddings
 * and projections, and attention probabilities are not.
 *
 * Source: Devlin et al. 2018, arXiv:1810.04805, section 3.
 */
export class BertModel extends EncoderModel {
  embeddings: BertEmbeddings;
  encoder: BertEncoder;
  pooler: BertPooler | null;

  constructor(
    readonly config: BertConfig,
    { pooler = true, dtype = "f32" }: BertOptions = {},
  ) {
    super();
    this.embeddings = new BertEmbeddings(config, dtype);
    this.encoder = new BertEncoder(config, dtype);
    this.pooler = pooler ? new BertPooler(config, dtype) : null;
  }

  override forward(ids: Tensor, options: EncoderOptions = {}): Tensor {
    expectIds(ids, this.config.maxPositions);
    const mask = keyMask(options.attentionMask, ids);
    let h = this.embeddings.forward(ids, options);
    for (const block of this.encoder.layer) {
      const run = (x: Tensor): Tensor => block.forward(x, mask);
      h = options.checkpoint ? checkpoint(run)(h) : run(h);
    }
    return h;
  }

  override configJson(dtype: string): Record<string, unknown> {
    return bertConfigJson(this.config, dtype, "BertModel");
  }
}

export const bert: Architecture<BertModel> = {
  name: "BertModel",
  modelType: "bert",
  task: "feature-extraction",
  base: "bert",
  create: (json, { dtype, has }) =>
    new BertModel(parseBertConfig(json), { dtype, pooler: has?.("pooler.dense.weight") ?? true }),
};
