import { Linear } from "@lowrank/nn";
import type { DType, Tensor } from "@lowrank/tensor";
import type { Architecture } from "./architecture.js";
import { ConfigReader } from "./config.js";
import { ImageClassifier, type ImageOptions } from "./image-model.js";
import { labelsJson, readLabels } from "./labels.js";
import { ViTModel } from "./vit.js";
import { parseViTConfig, type ViTConfig, vitConfigJson } from "./vit-config.js";

/** A vision transformer with classes for an image: a linear layer over the state of the whole image. */
export class ViTForImageClassification extends ImageClassifier {
  vit: ViTModel;
  classifier: Linear;
  readonly outputHead = "classifier";

  constructor(
    readonly config: ViTConfig,
    readonly labels: readonly string[],
    { dtype = "f32" }: { dtype?: DType | undefined } = {},
  ) {
    super();
    this.vit = new ViTModel(config, { pooler: false, dtype });
    this.classifier = new Linear(config.hiddenSize, labels.length, { dtype });
  }

  override forward(pixels: Tensor, options: ImageOptions = {}): Tensor {
    return this.classifier.forward(this.vit.forward(pixels, options).slice([null, 0, null]));
  }

  override configJson(dtype: string): Record<string, unknown> {
    const config = vitConfigJson(this.config, dtype, "ViTForImageClassification");
    return { ...config, ...labelsJson(this.labels) };
  }
}

export const vitForImageClassification: Architecture<ViTForImageClassification> = {
  name: "ViTForImageClassification",
  modelType: "vit",
  task: "image-classification",
  base: "vit",
  heads: ["classifier"],
  create: (json, { dtype, labels }) => {
    const read = new ConfigReader("config.json of model type vit", json);
    return new ViTForImageClassification(parseViTConfig(json), labels ?? readLabels(read), { dtype });
  },
};
