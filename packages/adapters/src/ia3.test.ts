import { Linear, Sequential } from "@lowrank/nn";
import { evaluate, key, normal, setDefaultBackend } from "@lowrank/tensor";
import { beforeAll, describe, expect, test } from "vitest";
import { testBackend } from "../test/backend.js";
import { close, randomised, read } from "../test/layers.js";
import { attach } from "./attach.js";
import { dora } from "./dora.js";
import { ia3, type Ia3Config } from "./ia3.js";
import { lora } from "./lora.js";
import { contractChecks } from "./testing.js";

beforeAll(async () => setDefaultBackend(await testBackend()));

for (const check of contractChecks(ia3, {}, { count: ({ outFeatures }) => outFeatures }))
  test(`outputs: ${check.name}`, check.run);
for (const check of contractChecks(
  ia3,
  { feedforward: ["layer"] },
  { count: ({ inFeatures, filter }) => filter?.channels ?? inFeatures },
))
  test(`inputs: ${check.name}`, check.run);

describe("ia3", () => {
  test("twice every scale of outputs is twice the result, bias included, apart and merged", async () => {
    const model = new Sequential(new Linear(5, 4, { key: key(1) })).eval() as Sequential;
    const x = normal([3, 5], { key: key(2) });
    const twice = (await read(model.forward(x))).map((y) => 2 * y);
    const adapted = attach(model, ia3, {}, { targets: ["0"] });
    await evaluate(...[...adapted.parameters()].map(([, p]) => p.assign(p.add(1))));
    close(await read(model.forward(x)), twice, 1e-6);
    const merged = await adapted.mergeAndUnload();
    close(await read(merged.forward(x)), twice, 1e-6);
    expect([...merged.parameters()].map(([path, p]) => `${path} ${p.trainable}`)).toEqual([
      "0.weight true",
      "0.bias true",
    ]);
  });

  test("others on top of it see the bias that it has made, apart and merged", async () => {
    const model = new Sequential(new Linear(5, 4, { key: key(1) })).eval() as Sequential;
    const x = normal([3, 5], { key: key(2) });
    const adapted = await randomised(attach(model, ia3, {}, { targets: ["0"], name: "a" }), 3);
    await randomised(attach(model, dora, { rank: 2 }, { targets: ["0"], name: "b" }), 4);
    await randomised(attach(model, lora, { rank: 2 }, { targets: ["0"], name: "c" }), 5);
    const apart = await read(model.forward(x));
    await adapted.merge();
    close(await read(model.forward(x)), apart, 1e-5);
    adapted.unmerge();
    expect(await read(model.forward(x))).toEqual(apart);
  });

  test("refuses a feedforward that is no list", () => {
    const model = new Sequential(new Linear(5, 4));
    const wrong = { feedforward: "down_proj" } as unknown as Ia3Config;
    expect(() => attach(model, ia3, wrong, { targets: ["0"] })).toThrow(/feedforward to be a list of names/);
  });
});
