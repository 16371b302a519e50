import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { type AdaLoraBudget, adaLora, adaLoraBudget, attach } from "@lowrank/adapters";
import { LlamaForCausalLM } from "@lowrank/models";
import { AdamW, SGD } from "@lowrank/optim";
import { key } from "@lowrank/tensor";
import { afterAll, expect, test } from "vitest";
import { TrainingData } from "../src/data.js";
import type { TrainOptions } from "../src/train-options.js";
import { train } from "../src/trainer.js";
import { smallConfig } from "./small-run.js";

const folder = mkdtempSync(join(tmpdir(), "adalora-"));
afterAll(() => rmSync(folder, { recursive: true, force: true }));

const STEPS = 12;
const examples = Array.from({ length: 16 }, (_, i) => {
  const ids = Array.from({ length: 12 }, (_, t) => (i + t) % 32);
  return { ids, labels: ids };
});

function setUp(more: Partial<TrainOptions> = {}) {
  const model = new LlamaForCausalLM(smallConfig, { key: key(5) });
  const config = { rank: 4, targetRank: 2, steps: STEPS, tinit: 2, tfinal: 3, deltaT: 2 };
  const adapted = attach(model, adaLora, config, { targets: ["q_proj", "v_proj"], key: key(6) });
  const optimizer = adaLoraBudget(adapted, new AdamW(model.trainableParameters(), { lr: 0.02 }));
  const data = new TrainingData(examples, { length: 24, batch: 2, seed: 3 });
  const options: TrainOptions = { model, optimizer, data, steps: STEPS, ...more };
  return { model, adapted, optimizer, options };
}

const values = async (budget: AdaLoraBudget<LlamaForCausalLM>): Promise<number[]> => {
  const all: number[] = [];
  for (const t of budget.state().tensors.values()) all.push(...(await t.data()));
  return all;
};

test("the budget is kept while a model trains, and a run that was stopped goes on to the same bits", async () => {
  const whole = setUp();
  await train(whole.options);
  const kept = Object.values(await whole.optimizer.kept());
  const left = kept.flat().filter(Boolean).length;
  expect(kept.length).toBe(whole.adapted.layers.length);
  expect(left).toBe(2 * kept.length);
  for (const stop of [5, 10]) {
    const save = { folder: join(folder, `stop-${stop}`), every: 5 };
    const controller = new AbortController();
    await train({
      ...setUp({ save, signal: controller.signal }).options,
      onEvent: (e) => e.type === "step" && e.step === stop && controller.abort(),
    });
    const second = setUp({ save, resume: true });
    await train(second.options);
    expect(await values(second.optimizer)).toEqual(await values(whole.optimizer));
    expect(await second.optimizer.kept()).toEqual(await whole.optimizer.kept());
  }
});

test("what adapters ask for is in the loss once, however many batches make a step", async () => {
  const lossOf = async (penalty: number, accumulate: number): Promise<number> => {
    const model = new LlamaForCausalLM(smallConfig, { key: key(5) });
    attach(model, adaLora, { rank: 4, steps: 9, penalty }, { targets: ["q_proj"], key: key(6) });
    const data = new TrainingData(examples, { length: 24, batch: 2, seed: 3 });
    const optimizer = new SGD(model.trainableParameters(), { lr: 0.1 });
    return (await train({ model, data, optimizer, steps: 1, accumulate })).loss;
  };
  const asked = (await lossOf(0.5, 1)) - (await lossOf(0, 1));
  expect(asked).toBeGreaterThan(0.5); // vectors near zero: 0.5 · ‖I‖_F, rank 4
  for (const accumulate of [2, 3])
    expect((await lossOf(0.5, accumulate)) - (await lossOf(0, accumulate))).toBeCloseTo(asked, 5);
});
