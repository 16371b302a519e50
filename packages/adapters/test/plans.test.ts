import { fileURLToPath } from "node:url";
import { attach, lora } from "@lowrank/adapters";
import { fromPretrained, generate } from "@lowrank/models";
import { valueAndGrad, withContext } from "@lowrank/nn";
import { AdamW, clipByGlobalNorm, cosineSchedule } from "@lowrank/optim";
import { type Backend, key, planStats, setDefaultBackend, type Tensor } from "@lowrank/tensor";
import { beforeAll, expect, test } from "vitest";
import { testBackend } from "./backend.js";

let backend: Backend;
beforeAll(async () => setDefaultBackend((backend = await testBackend())));

const BASE = fileURLToPath(new URL("../../models/test/goldens/llama-untied", import.meta.url));

test("training steps share one plan, whatever the step, its rate, its batch and its dropout", async () => {
  const model = await fromPretrained(BASE);
  attach(model, lora, { rank: 2, dropout: 0.1 }, { targets: "all-linear" });
  model.train();
  const lr = cosineSchedule({ peak: 1e-2, warmup: 2, total: 6 });
  const optimizer = new AdamW(model.trainableParameters(), { lr });
  const step = valueAndGrad(model, (ids: Tensor, segments: Tensor) =>
    model.loss(ids, ids, { segments, checkpoint: true }),
  );
  const run = async (i: number): Promise<number> => {
    const [ids, segments] = [model.ids([[1 + i, 2, 3, 4, 5, 6]]), model.ids([[0, 0, 0, 1, 1, i % 2]])];
    const { value, grads } = withContext({ key: key(7).fold(i) }, () => step(ids, segments));
    const clipped = clipByGlobalNorm(grads, 1);
    await optimizer.step(clipped.grads, { also: [value, clipped.norm] });
    return value.item();
  };
  const losses = [await run(0), await run(1)];
  const { misses } = planStats(backend);
  for (let i = 2; i < 6; i++) losses.push(await run(i));
  expect(planStats(backend).misses).toBe(misses);
  expect(new Set(losses).size).toBe(6);
});

test("tokens share one plan, and so does a second text", async () => {
  const model = await fromPretrained(BASE);
  const run = async (prompt: number[]): Promise<number> => {
    for await (const _ of generate(model, prompt, { maxNewTokens: 5, stopIds: [] }));
    return planStats(backend).misses;
  };
  const first = await run([1, 2, 3]);
  expect(await run([4, 5, 6, 7, 8])).toBe(first);
});
