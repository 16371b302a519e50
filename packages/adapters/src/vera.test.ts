import { Linear, Sequential } from "@lowrank/nn";
import { key, matmul, normal, setDefaultBackend } from "@lowrank/tensor";
import { beforeAll, describe, expect, test } from "vitest";
import { testBackend } from "../test/backend.js";
import { close, randomised, read, targetOf } from "../test/layers.js";
import type { Target } from "./adapter.js";
import { attach } from "./attach.js";
import { lora } from "./lora.js";
import { peftFiles } from "./peft.js";
import { contractChecks } from "./testing.js";
import { vera, type VeraConfig } from "./vera.js";

beforeAll(async () => setDefaultBackend(await testBackend()));

/** r + out */
const count = ({ outFeatures }: Target, { rank = 256 }: VeraConfig): number => rank + outFeatures;
for (const check of contractChecks(vera, { rank: 12 }, { count })) test(check.name, check.run);

const layers = (): Sequential =>
  new Sequential(new Linear(6, 10, { key: key(1) }), new Linear(10, 4, { key: key(2) })).eval() as Sequential;

describe("vera", () => {
  test("all layers share one pair of projections, as wide as the widest needs, and the file holds it once", async () => {
    const model = layers();
    const adapted = attach(model, vera, { rank: 3 }, { targets: ["0", "1"] });
    const shapes = [...adapted.parameters()].map(([path, p]) => `${path} [${p.shape}] ${p.trainable}`);
    expect(shapes).toEqual([
      "0.vera_lambda_b.default [10] true",
      "0.vera_lambda_d.default [3] true",
      "0.vera_A.default [3,10] false",
      "0.vera_B.default [10,3] false",
      "1.vera_lambda_b.default [4] true",
      "1.vera_lambda_d.default [3] true",
    ]);
    expect(adapted.report().trainable).toBe(10 + 3 + 4 + 3);
    const header = new TextDecoder().decode((await peftFiles(adapted)).get("adapter_model.safetensors"));
    expect(header.match(/base_model\.vera_A"/g)).toHaveLength(1);
  });

  test("it is the LoRA of the corners of the projections, scaled", async () => {
    const model = layers();
    const adapted = await randomised(attach(model, vera, { rank: 3 }, { targets: ["1"] }), 3);
    const params = Object.fromEntries(
      [...adapted.parameters()].map(([path, p]) => [path.split("_").at(-1)![0], p]),
    );
    const { A, B, b, d } = params as Record<string, (typeof params)[string]>;
    const W = normal([4, 10], { key: key(4) });
    const target = targetOf("linear", 10, 4);
    const up = B!.mul(b!.reshape([4, 1]));
    const down = A!.mul(d!.reshape([3, 1]));
    close(
      await read(vera.merge(W, { A: A!, B: B!, b: b!, d: d! }, { rank: 3 }, target)),
      await read(lora.merge(W, { A: down, B: up }, { rank: 3 }, target)),
      1e-6,
    );
    close(
      await read(matmul(up, down)),
      await read(vera.merge(W.mul(0), { A: A!, B: B!, b: b!, d: d! }, {}, target)),
      1e-6,
    );
  });

  test("a 768 to 3072 layer at rank 8 trains 3,080 numbers", () => {
    expect(count(targetOf("linear", 768, 3072), { rank: 8 })).toBe(3080);
  });
});
