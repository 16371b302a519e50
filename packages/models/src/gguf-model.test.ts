import { QuantizedWeight } from "@lowrank/nn";
import { setDefaultBackend } from "@lowrank/tensor";
import { fromPretrained } from "@lowrank/models";
import { beforeAll, describe, expect, test } from "vitest";
import { noTestModels, testModel } from "../../../scripts/test-models.js";
import { testBackend } from "../test/backend.js";
import { joinHalves } from "./gguf-model.js";

beforeAll(async () => setDefaultBackend(await testBackend()));

// With heads of 4 rows in pairs (0, 1), (2, 3): the firsts of all pairs come before the seconds.
test("rows in pairs are put half a head apart", () => {
  const bytes = Uint8Array.from({ length: 16 }, (_, i) => i);
  expect([...joinHalves({ shape: [8, 2] }, bytes, 2)]).toEqual([
    0, 1, 4, 5, 2, 3, 6, 7, 8, 9, 12, 13, 10, 11, 14, 15,
  ]);
});

describe.skipIf(noTestModels !== null)("SmolLM2-135M-Instruct in Q4_1", () => {
  test("is read into codes, and predicts what Transformers does on the widened weights", async () => {
    const model = await fromPretrained(testModel("SmolLM2-135M-Instruct.Q4_1.gguf"));
    expect(model.at("model.layers.3.mlp.up_proj")).toHaveProperty("weight.bits", 4);
    expect(model.state().get("model.embed_tokens.weight")).toBeInstanceOf(QuantizedWeight);
    expect(model.countParameters()).toEqual({ total: 134515008, trainable: 35136, share: 35136 / 134515008 });
    const logits = model.forward(model.ids([[1, 9690, 198, 2683, 359, 253, 5356, 5646]]));
    const last = await logits.slice([null, [7, 8]]).data();
    for (const [id, want] of [
      [11173, 23.6259],
      [28, 20.7563],
      [281, 20.0501],
      [30, 20.0486],
    ] as const) {
      expect(Math.abs(last[id]! - want)).toBeLessThan(5e-4);
    }
  });
});
