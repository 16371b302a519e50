import { Dropout, LayerNorm, like, Linear, Module } from "@lowrank/nn";
import {
  broadcastTo,
  checkpoint,
  concat,
  type DType,
  matmul,
  type Parameter,
  parameter,
  type Tensor,
  zeros,
} from "@lowrank/tensor";
import { activation } from "./activation.js";
import type { Architecture } from "./architecture.js";
import { expectPixels, ImageModel, type ImageOptions } from "./image-model.js";
import { SelfAttention } from "./self-attention.js";
import { parseViTConfig, type ViTConfig, vitConfigJson } from "./vit-config.js";

/** A convolution whose kernel is as large as its step: each patch of an image times one matrix. */
class PatchProjection extends Module {
  /** [out, channels, height, width]. */
  weight: Parameter;
  bias: Parameter;

  constructor({ hiddenSize, channels, patchSize }: ViTConfig, dtype: DType) {
    super();
    this.weight = parameter(zeros([hiddenSize, channels, ...patchSize], { dtype }));
    this.bias = parameter(zeros([hiddenSize], { dtype }));
  }

  /** [batch, channels, height, width] to [batch, patches, out], row by row; what is left at the edges is no patch. */
  forward(pixels: Tensor): Tensor {
    const [out, channels, ph, pw] = this.weight.shape as [number, number, number, number];
    const [batch, , height, width] = pixels.shape as [number, number, number, number];
    const [rows, columns] = [Math.floor(height / ph), Math.floor(width / pw)];
    const patches = pixels
      .slice([null, null, [0, rows * ph], [0, columns * pw]])
      .reshape([batch, channels, rows, ph, columns, pw])
      .permute([0, 2, 4, 1, 3, 5])
      .reshape([batch, rows * columns, channels * ph * pw]);
    const y = matmul(patches, like(this.weight, pixels).reshape([out, channels * ph * pw]).T);
    return y.add(like(this.bias, y));
  }
}

class ViTPatchEmbeddings extends Module {
  projection: PatchProjection;

  constructor(config: ViTConfig, dtype: DType) {
    super();
    this.projection = new PatchProjection(config, dtype);
  }
}

/** The state of the whole image and those of its patches, with their positions. */
class ViTEmbeddings extends Module {
  cls_token: Parameter;
  position_embeddings: Parameter;
  patch_embeddings: ViTPatchEmbeddings;
  dropout: Dropout;

  constructor(config: ViTConfig, dtype: DType) {
    super();
    const { hiddenSize, imageSize, patchSize } = config;
    const patches = Math.floor(imageSize[0] / patchSize[0]) * Math.floor(imageSize[1] / patchSize[1]);
    this.cls_token = parameter(zeros([1, 1, hiddenSize], { dtype }));
    this.position_embeddings = parameter(zeros([1, patches + 1, hiddenSize], { dtype }));
    this.patch_embeddings = new ViTPatchEmbeddings(config, dtype);
    this.dropout = new Dropout(config.dropout);
  }

  forward(pixels: Tensor): Tensor {
    const patches = this.patch_embeddings.projection.forward(pixels);
    const [batch, , width] = patches.shape as [number, number, number];
    const first = broadcastTo(like(this.cls_token, patches), [batch, 1, width]);
    const all = concat([first, patches], 1).add(like(this.position_embeddings, patches));
    return this.dropout.forward(all);
  }
}

class ViTDense extends Module {
  dense: Linear;

  constructor(from: number, to: number, dtype: DType) {
    super();
    this.dense = new Linear(from, to, { dtype });
  }

  forward(x: Tensor): Tensor {
    return this.dense.forward(x);
  }
}

class ViTAttention extends Module {
  attention: SelfAttention;
  output: ViTDense;

  constructor({ hiddenSize, heads, qkvBias }: ViTConfig, dtype: DType) {
    super();
    this.attention = new SelfAttention(hiddenSize, heads, { bias: qkvBias, dtype });
    this.output = new ViTDense(hiddenSize, hiddenSize, dtype);
  }

  forward(x: Tensor): Tensor {
    return this.output.forward(this.attention.forward(x));
  }
}

/** One block: h = x + attention(norm(x)), y = h + W_out act(W_in norm(h)). */
export class ViTLayer extends Module {
  layernorm_before: LayerNorm;
  attention: ViTAttention;
  layernorm_after: LayerNorm;
  intermediate: ViTDense;
  output: ViTDense;
  dropout: Dropout;
  private readonly _activation: (x: Tensor) => Tensor;

  constructor(config: ViTConfig, dtype: DType) {
    super();
    const { hiddenSize, intermediateSize, layerNormEps: eps } = config;
    this.layernorm_before = new LayerNorm(hiddenSize, { eps, dtype });
    this.attention = new ViTAttention(config, dtype);
    this.layernorm_after = new LayerNorm(hiddenSize, { eps, dtype });
    this.intermediate = new ViTDense(hiddenSize, intermediateSize, dtype);
    this.output = new ViTDense(intermediateSize, hiddenSize, dtype);
    this._activation = activation(config.activation);
    this.dropout = new Dropout(config.dropout);
  }

  forward(x: Tensor): Tensor {
    const h = x.add(this.dropout.forward(this.attention.forward(this.layernorm_before.forward(x))));
    const inner = this._activation(this.intermediate.forward(this.layernorm_after.forward(h)));
    return h.add(this.dropout.forward(this.output.forward(inner)));
  }
}

class ViTEncoder extends Module {
  layer: ViTLayer[];

  constructor(config: ViTConfig, dtype: DType) {
    super();
    this.layer = Array.from({ length: config.layers }, () => new ViTLayer(config, dtype));
  }
}

export interface ViTOptions {
  /** Whether the state of the whole image has a layer of its own on top. Default true. */
  pooler?: boolean;
  /** Storage type of the parameters. Default f32. */
  dtype?: DType | undefined;
}

/**
 * A vision transformer without a head; parameter paths are those in the files of Hugging Face's ViTModel. Parameters start at
 * zero, to be loaded.
 *
 * Source: Dosovitskiy et al. 2020, arXiv:2010.11929, section 3.1, eq. (1) to (4).
 */
export class ViTModel extends ImageModel {
  embeddings: ViTEmbeddings;
  encoder: ViTEncoder;
  layernorm: LayerNorm;
  pooler: ViTDense | null;

  constructor(
    readonly config: ViTConfig,
    { pooler = true, dtype = "f32" }: ViTOptions = {},
  ) {
    super();
    this.embeddings = new ViTEmbeddings(config, dtype);
    this.encoder = new ViTEncoder(config, dtype);
    this.layernorm = new LayerNorm(config.hiddenSize, { eps: config.layerNormEps, dtype });
    this.pooler = pooler ? new ViTDense(config.hiddenSize, config.poolerSize, dtype) : null;
  }

  override forward(pixels: Tensor, options: ImageOptions = {}): Tensor {
    expectPixels(pixels, this.config);
    let h = this.embeddings.forward(pixels);
    for (const block of this.encoder.layer) {
      const run = (x: Tensor): Tensor => block.forward(x);
      h = options.checkpoint ? checkpoint(run)(h) : run(h);
    }
    return this.layernorm.forward(h);
  }

  /** The pooler's answer to the state of the whole image, [batch, poolerSize], where the model has a pooler. */
  pooled(hidden: Tensor): Tensor | null {
    const first = hidden.slice([null, 0, null]);
    return this.pooler && activation(this.config.poolerActivation)(this.pooler.forward(first));
  }

  override configJson(dtype: string): Record<string, unknown> {
    return vitConfigJson(this.config, dtype, "ViTModel");
  }
}

export const vit: Architecture<ViTModel> = {
  name: "ViTModel",
  modelType: "vit",
  task: "image-feature-extraction",
  base: "vit",
  create: (json, { dtype, has }) =>
    new ViTModel(parseViTConfig(json), { dtype, pooler: has?.("pooler.dense.weight") ?? true }),
};
