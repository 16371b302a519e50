import { Dropout, Linear } from "@lowrank/nn";
import type { DType, Tensor } from "@lowrank/tensor";
import type { Architecture } from "./architecture.js";
import { BertModel } from "./bert.js";
import { type BertConfig, bertConfigJson, parseBertConfig } from "./bert-config.js";
import { ConfigReader } from "./config.js";
import type { EncoderOptions } from "./encoder-model.js";
import { labelsJson, readLabels } from "./labels.js";
import { TextClassifier, TokenClassifier } from "./text-classifier.js";

/** BERT with classes for a text: a linear layer over the pooled state of the first token. */
export class BertForSequenceClassification extends TextClassifier {
  bert: BertModel;
  dropout: Dropout;
  classifier: Linear;
  readonly outputHead = "classifier";

  constructor(
    readonly config: BertConfig,
    readonly labels: readonly string[],
    { dtype = "f32" }: { dtype?: DType | undefined } = {},
  ) {
    super();
    this.bert = new BertModel(config, { dtype });
    this.dropout = new Dropout(config.classifierDropout);
    this.classifier = new Linear(config.hiddenSize, labels.length, { dtype });
  }

  override forward(ids: Tensor, options: EncoderOptions = {}): Tensor {
    const pooled = this.bert.pooler!.forward(this.bert.forward(ids, options)); // [batch, hiddenSize]
    return this.classifier.forward(this.dropout.forward(pooled));
  }

  override configJson(dtype: string): Record<string, unknown> {
    const config = bertConfigJson(this.config, dtype, "BertForSequenceClassification");
    return { ...config, ...labelsJson(this.labels) };
  }
}

/** BERT with classes for every token: a linear layer over its state. */
export class BertForTokenClassification extends TokenClassifier {
  bert: BertModel;
  dropout: Dropout;
  classifier: Linear;
  readonly outputHead = "classifier";

  constructor(
    readonly config: BertConfig,
    readonly labels: readonly string[],
    { dtype = "f32" }: { dtype?: DType | undefined } = {},
  ) {
    super();
    this.bert = new BertModel(config, { pooler: false, dtype });
    this.dropout = new Dropout(config.classifierDropout);
    this.classifier = new Linear(config.hiddenSize, labels.length, { dtype });
  }

  override forward(ids: Tensor, options: EncoderOptions = {}): Tensor {
    return this.classifier.forward(this.dropout.forward(this.bert.forward(ids, options)));
  }

  override configJson(dtype: string): Record<string, unknown> {
    const config = bertConfigJson(this.config, dtype, "BertForTokenClassification");
    return { ...config, ...labelsJson(this.labels) };
  }
}

const labelsOf = (json: ConstructorParameters<typeof ConfigReader>[1]): string[] =>
  readLabels(new ConfigReader("config.json of model type bert", json));

export const bertForSequenceClassification: Architecture<BertForSequenceClassification> = {
  name: "BertForSequenceClassification",
  modelType: "bert",
  task: "text-classification",
  base: "bert",
  heads: ["classifier", "bert.pooler"],
  create: (json, { dtype, labels = labelsOf(json) }) =>
    new BertForSequenceClassification(parseBertConfig(json), labels, { dtype }),
};

export const bertForTokenClassification: Architecture<BertForTokenClassification> = {
  name: "BertForTokenClassification",
  modelType: "bert",
  task: "token-classification",
  base: "bert",
  heads: ["classifier"],
  ignored: /^bert\.pooler\./, // some files have it, without a use
  create: (json, { dtype, labels = labelsOf(json) }) =>
    new BertForTokenClassification(parseBertConfig(json), labels, { dtype }),
};
