import { readFileSync } from "node:fs";
import { type CausalLM, fromPretrained, generate } from "@lowrank/models";
import { argmax, setDefaultBackend } from "@lowrank/tensor";
import { beforeAll, describe, expect, test } from "vitest";
import { noTestModels, testModel } from "../../../scripts/test-models.js";
import { testBackend } from "./backend.js";
import { golden } from "./golden-files.js";

interface Prompt {
  text: string;
  ids: number[];
  /** The 50 largest logits at the last token, by id. */
  top: number[];
  logits: number[];
  /** What greedy choice appends. */
  greedy: number[];
}

const { prompts } = JSON.parse(readFileSync(golden("smollm2.json"), "utf8")) as { prompts: Prompt[] };

// Against Transformers on the weights that the gguf package widens. After the tokens that Transformers chose, each choice of
// ours is the next of them: that is to say that greedy choice gives the same.
describe.skipIf(noTestModels !== null)("SmolLM2-135M-Instruct from its GGUF file, in codes", () => {
  let model: CausalLM;
  beforeAll(async () => {
    setDefaultBackend(await testBackend());
    model = await fromPretrained(testModel("SmolLM2-135M-Instruct.Q4_1.gguf"), { resident: true });
  });

  test("logits of 20 prompts agree to 1e-3, and 64 greedy tokens of 18 at least are the same", async () => {
    expect(prompts).toHaveLength(20);
    let worst = 0;
    const apart: string[] = [];
    for (const { text, ids, top, logits, greedy } of prompts) {
      const all = [...ids, ...greedy.slice(0, -1)];
      const hidden = model.hidden(model.ids([all])); // [1, T, width]
      const tail = model.logits(hidden.slice([null, [ids.length - 1, all.length]])); // [1, 64, vocabulary]
      const chosen = Array.from(await argmax(tail, -1).data());
      const first = await tail.slice([null, [0, 1]]).data();
      for (const [i, id] of top.entries()) worst = Math.max(worst, Math.abs(first[id]! - logits[i]!));
      if (chosen.join() !== greedy.join()) apart.push(text);
    }
    expect(worst, "largest difference of logits").toBeLessThan(1e-3);
    expect(apart.length, `prompts that part: ${apart.join(" | ")}`).toBeLessThanOrEqual(2);
  }, 300_000);

  test("token by token over the cache it chooses the same", async () => {
    const { ids, greedy } = prompts[0]!;
    const made: number[] = [];
    for await (const id of generate(model, ids, { greedy: true, maxNewTokens: 24, stopIds: [] }))
      made.push(id);
    expect(made).toEqual(greedy.slice(0, 24));
  }, 300_000);
});
