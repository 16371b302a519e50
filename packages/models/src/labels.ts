import { ConfigError, crossEntropy, maximum, ne, type Tensor } from "@lowrank/tensor";
import { expectSameShape, IGNORED_LABEL } from "./causal-lm.js";
import type { ConfigReader } from "./config.js";

const MAX_LABELS = 1 << 20;

/** The names of the classes, in order: `id2label`, or as many as `num_labels` says. Default: two. */
export function readLabels(read: ConfigReader): string[] {
  const named = read.nested("id2label");
  if (named === undefined) {
    const count = read.integer("num_labels", 2, 1, MAX_LABELS);
    return Array.from({ length: count }, (_, i) => `LABEL_${i}`);
  }
  const count = Object.keys(read.raw("id2label") as object).length;
  if (count < 1 || count > MAX_LABELS) read.fail("id2label", "an object of one label or more");
  return Array.from({ length: count }, (_, i) => {
    const label = named.raw(String(i));
    return typeof label === "string" ? label : named.fail(String(i), "the name of a label");
  });
}

/** The fields that {@link readLabels} reads. */
export const labelsJson = (labels: readonly string[]): Record<string, unknown> => ({
  id2label: Object.fromEntries(labels.map((label, i) => [String(i), label])),
  label2id: Object.fromEntries(labels.map((label, i) => [label, i])),
});

/**
 * Sum of −log p(label) in nats over the labels kept and their number. Logits are [..., classes], labels [...] i32; −100 is
 * no target.
 */
export function classLoss(logits: Tensor, labels: Tensor): { sum: Tensor; count: Tensor } {
  const classes = logits.shape.at(-1)!;
  if (classes < 2) {
    throw new ConfigError({
      where: "loss",
      expected: "two classes or more",
      got: `${classes}, which is a regression`,
      hint: "take mse of the logits",
    });
  }
  const places = logits.slice([...logits.shape.slice(0, -1).map(() => null), 0]);
  expectSameShape("loss", "labels", labels, places);
  const targets = labels.reshape([-1]);
  const sum = crossEntropy(logits.reshape([targets.size, classes]), targets, {
    ignoreIndex: IGNORED_LABEL,
    reduction: "sum",
  });
  return { sum, count: ne(targets, IGNORED_LABEL).astype("f32").sum() };
}

/** Mean of −log p(label) over the labels kept, 0 if there are none. */
export const meanLoss = ({ sum, count }: { sum: Tensor; count: Tensor }): Tensor =>
  sum.div(maximum(count, 1));
