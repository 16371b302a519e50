import { ConfigError } from "@lowrank/tensor";

/** How well one class is told from the others. */
export interface ClassificationMetrics {
  /** Share of all texts that got their class. */
  accuracy: number;
  /** Of those that were given the class, the share that has it; 0 if none was given it. */
  precision: number;
  /** Of those that have the class, the share that was given it; 0 if none has it. */
  recall: number;
  /** 2 · precision · recall / (precision + recall), 0 if both are 0. */
  f1: number;
  /** How many were rightly and wrongly given the class, and rightly and wrongly not. */
  counts: { truePositive: number; falsePositive: number; trueNegative: number; falseNegative: number };
}

/**
 * Accuracy over all classes, and precision, recall and F1 of the class `positive`.
 *
 * Source: van Rijsbergen 1979, Information Retrieval, chapter 7.
 */
export function classificationMetrics(
  labels: ArrayLike<number>,
  predicted: ArrayLike<number>,
  positive = 1,
): ClassificationMetrics {
  if (labels.length === 0 || labels.length !== predicted.length) {
    throw new ConfigError({
      where: "classificationMetrics",
      expected: "as many predictions as labels, one or more",
      got: `${predicted.length} for ${labels.length}`,
    });
  }
  const counts = { truePositive: 0, falsePositive: 0, trueNegative: 0, falseNegative: 0 };
  let right = 0;
  for (let i = 0; i < labels.length; i++) {
    if (labels[i] === predicted[i]) right++;
    if (predicted[i] === positive) counts[labels[i] === positive ? "truePositive" : "falsePositive"]++;
    else counts[labels[i] === positive ? "falseNegative" : "trueNegative"]++;
  }
  const { truePositive, falsePositive, falseNegative } = counts;
  const share = (part: number, rest: number): number => (part === 0 ? 0 : part / (part + rest));
  const [precision, recall] = [share(truePositive, falsePositive), share(truePositive, falseNegative)];
  const f1 = truePositive === 0 ? 0 : (2 * precision * recall) / (precision + recall);
  return { accuracy: right / labels.length, precision, recall, f1, counts };
}
