/**
 * An adapter of one's own learns what was done to a network: its inputs were scaled, and so were its outputs.
 *
 *   pnpm --filter @lowrank-examples/own-adapter start
 */
import { attach, peftFiles } from "@lowrank/adapters";
import { Linear, mse, Sequential, valueAndGrad } from "@lowrank/nn";
import { AdamW } from "@lowrank/optim";
import { key, normal, type Tensor, uniform } from "@lowrank/tensor";
import { twoGains } from "./two-gains.js";

const STEPS = 300;

/** The loss before and after, and the largest difference that merging makes. */
export async function learn(): Promise<{ before: number; after: number; merged: number; trained: number }> {
  const model = new Sequential(new Linear(16, 8, { key: key(1) })).eval() as Sequential;
  const x = normal([64, 16], { key: key(2) });
  const between = (n: number, name: string): Tensor =>
    uniform([n], { key: key(3).foldName(name), min: 0.5, max: 2 });
  const { weight, bias } = model.at("0") as Linear;
  const W = weight.mul(between(16, "in")).mul(between(8, "out").reshape([8, 1]));
  const wanted = x.matmul(W.T).add(bias!);

  const adapted = attach(model, twoGains, {}, { targets: "all-linear" });
  const loss = (): Tensor => mse(model.forward(x), wanted);
  const before = await loss().item();
  const step = valueAndGrad(model, loss);
  const optimizer = new AdamW(model.trainableParameters(), { lr: 0.03, weightDecay: 0 });
  for (let i = 0; i < STEPS; i++) await optimizer.step(step().grads);
  const after = await loss().item();

  const apart = await model.forward(x).data();
  await adapted.merge();
  const together = Array.from(await model.forward(x).data());
  const merged = Math.max(...together.map((y, i) => Math.abs(y - apart[i]!)));
  adapted.unmerge();
  return { before, after, merged, trained: adapted.report().trainable };
}

/** The names of its files: saving comes from the contract too. */
export async function fileNames(): Promise<string[]> {
  const model = new Sequential(new Linear(16, 8));
  return [...(await peftFiles(attach(model, twoGains, {}, { targets: "all-linear" }))).keys()];
}

if (process.argv[1]?.endsWith("main.ts")) {
  const { before, after, merged, trained } = await learn();
  console.log(
    `${trained} numbers trained: loss ${before.toFixed(3)} before, ${after.toExponential(1)} after`,
  );
  console.log(`merged into the weight, results differ by at most ${merged.toExponential(1)}`);
  console.log(`saved as ${(await fileNames()).join(" and ")}`);
}
