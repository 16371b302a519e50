import { ShapeError, type Tensor } from "@lowrank/tensor";
import { classLoss, meanLoss } from "./labels.js";
import { PretrainedModel } from "./pretrained-model.js";

export interface ImageOptions {
  /** Computes each layer again in the backward pass instead of keeping what is inside it. Default false. */
  checkpoint?: boolean;
}

/** What configurations of image models have in common. */
export interface ImageConfig {
  readonly hiddenSize: number;
  readonly channels: number;
  /** Height and width of the images that the model takes. */
  readonly imageSize: readonly [height: number, width: number];
}

/**
 * A model that reads images: [batch, channels, height, width] of a float dtype, scaled as the model was trained on them
 * (`preprocessor_config.json` says how).
 */
export abstract class VisionModel extends PretrainedModel {
  abstract readonly config: ImageConfig;
}

/** An image model without a head on top. */
export abstract class ImageModel extends VisionModel {
  /** Images to the last states [batch, places, hiddenSize], that of the whole image first. */
  abstract forward(pixels: Tensor, options?: ImageOptions): Tensor;
}

/** A model that gives an image one of several classes. */
export abstract class ImageClassifier extends VisionModel {
  /** Names of the classes, in the order of the logits. */
  abstract readonly labels: readonly string[];
  /** Path of the head, which "all-linear" adapters leave out. */
  abstract readonly outputHead: string;
  /** Images to logits [batch, classes]. */
  abstract forward(pixels: Tensor, options?: ImageOptions): Tensor;

  /** Mean of −log p(label); labels are [batch] i32, −100 is no target. */
  loss(pixels: Tensor, labels: Tensor, options: ImageOptions = {}): Tensor {
    return meanLoss(this.lossParts(pixels, labels, options));
  }

  /** Sum of −log p(label) in nats and the number of labels kept, for averages over several batches. */
  lossParts(pixels: Tensor, labels: Tensor, options: ImageOptions = {}): { sum: Tensor; count: Tensor } {
    return classLoss(this.forward(pixels, options), labels);
  }
}

/** Refuses images of another size than the model's. */
export function expectPixels(pixels: Tensor, { channels, imageSize: [height, width] }: ImageConfig): void {
  const wanted = [pixels.shape[0] ?? 1, channels, height, width];
  if (pixels.shape.join() === wanted.join() && pixels.shape.length === 4) return;
  throw new ShapeError({
    where: "forward",
    expected: `images of shape [batch, ${channels}, ${height}, ${width}]`,
    got: `[${pixels.shape.join(", ")}]`,
    hint: "scale them to the size that the model was made for",
  });
}
