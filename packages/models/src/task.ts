import type { CausalLM } from "./causal-lm.js";
import type { EncoderModel } from "./encoder-model.js";
import type { ImageClassifier, ImageModel } from "./image-model.js";
import type { TextClassifier, TokenClassifier } from "./text-classifier.js";

/** What a model is for, by the names of the Hugging Face Hub, and what it then is. */
export interface TaskModels {
  "text-generation": CausalLM;
  "feature-extraction": EncoderModel;
  "text-classification": TextClassifier;
  "token-classification": TokenClassifier;
  "image-feature-extraction": ImageModel;
  "image-classification": ImageClassifier;
}

export type Task = keyof TaskModels;
