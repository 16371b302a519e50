import { BertForSequenceClassification, parseBertConfig } from "@lowrank/models";
import { AdamW } from "@lowrank/optim";
import { key, normal, setDefaultBackend } from "@lowrank/tensor";
import { wasm } from "@lowrank/backend-wasm";
import { beforeAll, expect, test } from "vitest";
import { classificationMetrics } from "./classification-metrics.js";
import { classProbabilities, trainClassifier } from "./classifier.js";
import { LabelledData, type LabelledExample } from "./labelled-data.js";

beforeAll(async () => setDefaultBackend(await wasm({ threads: 1 })));

function classifier(): BertForSequenceClassification {
  const config = parseBertConfig({
    vocab_size: 30,
    hidden_size: 16,
    num_hidden_layers: 1,
    num_attention_heads: 2,
    intermediate_size: 32,
    max_position_embeddings: 40,
    hidden_dropout_prob: 0,
    attention_probs_dropout_prob: 0,
    hidden_act: "gelu",
    type_vocab_size: 2,
  });
  const model = new BertForSequenceClassification(config, ["ham", "spam"]);
  for (const [path, p] of model.parameters())
    if (p.ndim > 1) p.replace(normal(p.shape, { key: key(5).foldName(path), std: 0.2 }));
  return model;
}

/** A text is spam if it has the token 7. */
const examples: LabelledExample[] = Array.from({ length: 60 }, (_, i) => {
  const ids = [1, ...Array.from({ length: 3 + (i % 9) }, (_, j) => 8 + ((i * 5 + j * 3) % 20))];
  if (i % 3 === 0) ids[1 + (i % (ids.length - 1))] = 7;
  return { ids, label: i % 3 === 0 ? 1 : 0 };
});

test("a pass gives every text once, of similar length together, and a position gives the same batches again", () => {
  const data = new LabelledData(examples, { batch: 8, seed: 3 });
  const pass = Array.from({ length: data.batchesPerEpoch }, () => data.next());
  const learnt = pass.flatMap((b) => b.rows.filter((_, i) => b.labels[i] !== -100));
  expect(learnt.map(String).sort()).toEqual(examples.map(({ ids }) => String(ids)).sort());
  expect(pass.map((b) => b.rows.length)).toEqual(new Array(8).fill(8));
  expect(pass.map((b) => b.targets).sort()).toEqual([4, 8, 8, 8, 8, 8, 8, 8]);
  expect(pass.every((b) => b.length % 32 === 0)).toBe(true);
  const at = data.position;
  const second = [data.next(), data.next()];
  expect(second[0]).not.toEqual(pass[0]);
  data.position = at;
  expect([data.next(), data.next()]).toEqual(second);
  data.position = { epoch: 0, batch: 1 };
  expect(data.next()).toEqual(pass[1]);
  expect(data.fingerprint).not.toBe(new LabelledData(examples.slice(1), { batch: 8, seed: 3 }).fingerprint);
});

test("training lowers the held-out loss until the classes are told apart, probabilities come in the order of the texts", async () => {
  const model = classifier();
  const [training, heldOut] = [examples.slice(0, 45), examples.slice(45)];
  const losses: number[] = [];
  const result = await trainClassifier({
    model,
    data: new LabelledData(training, { batch: 8 }),
    optimizer: new AdamW(model.trainableParameters(), { lr: 0.01, weightDecay: 0 }),
    steps: 60,
    evaluate: { examples: heldOut, every: 20 },
    onEvent: (e) => void (e.type === "eval" && losses.push(e.loss)),
  });
  expect(result).toMatchObject({ step: 60, reason: "done" });
  expect(losses).toHaveLength(3);
  expect(losses[2]).toBeLessThan(losses[0]! / 2);
  const all = await classProbabilities(model, heldOut, { batch: 4 });
  const predicted = all.map((p) => (p[1]! > 0.5 ? 1 : 0));
  expect(
    classificationMetrics(
      heldOut.map((e) => e.label),
      predicted,
    ).accuracy,
  ).toBe(1);
  const alone = await classProbabilities(model, [heldOut[3]!]);
  expect(alone[0]![1]).toBeCloseTo(all[3]![1]!, 5);
  expect(all[0]![0]! + all[0]![1]!).toBeCloseTo(1, 6);
});

test("layers that are computed again give the same training", async () => {
  const run = async (checkpointLayers: boolean): Promise<number> => {
    const model = classifier();
    const optimizer = new AdamW(model.trainableParameters(), { lr: 0.01 });
    const { loss } = await trainClassifier({
      model,
      data: new LabelledData(examples, { batch: 8 }),
      optimizer,
      steps: 4,
      checkpointLayers,
    });
    return loss;
  };
  expect(await run(true)).toBeCloseTo(await run(false), 5);
});

// 3 of 4 given the class have it, 3 of 5 that have it were given it: F1 = 2 · 0.75 · 0.6 / 1.35
test("precision, recall and F1 are those of the counts", () => {
  const labels = [1, 1, 1, 1, 1, 0, 0, 0, 2, 2];
  const predicted = [1, 1, 1, 0, 2, 1, 0, 0, 2, 0];
  const found = classificationMetrics(labels, predicted);
  expect(found.counts).toEqual({ truePositive: 3, falsePositive: 1, trueNegative: 4, falseNegative: 2 });
  expect(found.accuracy).toBeCloseTo(0.6);
  expect(found.precision).toBeCloseTo(0.75);
  expect(found.recall).toBeCloseTo(0.6);
  expect(found.f1).toBeCloseTo(2 / 3);
  expect(classificationMetrics([1, 0], [0, 0])).toMatchObject({ precision: 0, recall: 0, f1: 0 });
  expect(() => classificationMetrics([], [])).toThrow(/one or more, got 0 for 0/);
});
