import { Linear, valueAndGrad } from "@lowrank/nn";
import { AdamW } from "@lowrank/optim";
import { crossEntropy, evaluate, key, tensor, type Tensor } from "@lowrank/tensor";

const STEPS = 400;

const matrix = (rows: readonly Float32Array[]): Tensor => {
  const flat = new Float32Array(rows.length * rows[0]!.length);
  for (const [i, row] of rows.entries()) flat.set(row, i * row.length);
  return tensor(flat, { shape: [rows.length, rows[0]!.length] });
};

/** Logistic regression on vectors that stay as they are: the classes that it gives to `test`. */
export async function logisticHead(
  train: readonly Float32Array[],
  labels: readonly number[],
  test: readonly Float32Array[],
): Promise<number[]> {
  const head = new Linear(train[0]!.length, 2, { key: key(0) });
  const x = matrix(train);
  const y = tensor(Int32Array.from(labels), { dtype: "i32" });
  await evaluate(x, y);
  const optimizer = new AdamW(head.trainableParameters(), { lr: 0.05, weightDecay: 0 });
  for (let step = 0; step < STEPS; step++) {
    const { grads } = valueAndGrad(head, () => crossEntropy(head.forward(x), y))();
    await optimizer.step(grads);
  }
  const logits = await head.forward(matrix(test)).data();
  return test.map((_, i) => (logits[2 * i + 1]! > logits[2 * i]! ? 1 : 0));
}
