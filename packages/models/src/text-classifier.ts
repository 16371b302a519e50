import type { Tensor } from "@lowrank/tensor";
import { type EncoderOptions, TextModel } from "./encoder-model.js";
import { classLoss, meanLoss } from "./labels.js";

/** A text model with a head of classes: one answer a text, or one a token. */
export abstract class LabelledTextModel extends TextModel {
  /** Names of the classes, in the order of the logits. */
  abstract readonly labels: readonly string[];
  /** Path of the head, which "all-linear" adapters leave out. */
  abstract readonly outputHead: string;
  /** Ids [batch, T] i32 to logits [batch, classes], for classes of tokens [batch, T, classes]. */
  abstract forward(ids: Tensor, options?: EncoderOptions): Tensor;

  /** Mean of −log p(label); labels are [batch], for classes of tokens [batch, T], i32. −100 is no target. */
  loss(ids: Tensor, labels: Tensor, options: EncoderOptions = {}): Tensor {
    return meanLoss(this.lossParts(ids, labels, options));
  }

  /** Sum of −log p(label) in nats and the number of labels kept, for averages over several batches. */
  lossParts(ids: Tensor, labels: Tensor, options: EncoderOptions = {}): { sum: Tensor; count: Tensor } {
    return classLoss(this.forward(ids, options), labels);
  }
}

/** A model that gives a text one of several classes. */
export abstract class TextClassifier extends LabelledTextModel {}

/** A model that gives every token one of several classes. */
export abstract class TokenClassifier extends LabelledTextModel {}
