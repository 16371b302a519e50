import { loadTokenizer } from "@lowrank/models";
import { describe, expect, test } from "vitest";
import { noTestModels, testModel } from "../../../scripts/test-models.js";
import { IGNORED, toExample } from "../src/example.js";

// Ids: transformers 5.24.0, apply_chat_template of the same messages.
const IDS = [
  1, 9690, 198, 2683, 359, 253, 5356, 5646, 11173, 3365, 3511, 308, 34519, 28, 7018, 411, 407, 19712, 8182, 2,
  198, 1, 4093, 198, 5820, 253, 15682, 30, 2, 198, 1, 520, 9531, 198, 61, 47246, 15992, 30, 2, 198, 1, 4093,
  198, 3528, 624, 22167, 47, 2, 198, 1, 520, 9531, 198, 45278, 330, 4176, 30, 2, 198,
];

describe.skipIf(noTestModels !== null)("a conversation for SmolLM2", () => {
  test("has the ids of Transformers, and what the assistant says is learnt with the end of its turn", async () => {
    const tokenizer = await loadTokenizer(testModel("SmolLM2-135M-Instruct.Q4_1.gguf"));
    const messages = [
      { role: "user", content: "Name a whale." },
      { role: "assistant", content: "Moby Dick." },
      { role: "user", content: "And its hunter?" },
      { role: "assistant", content: "Captain Ahab." },
    ];
    const { ids, labels } = toExample({ messages }, tokenizer);
    expect(ids).toEqual(IDS);
    const learnt = labels.filter((label) => label !== IGNORED);
    expect(learnt).toEqual([61, 47246, 15992, 30, 2, 198, 45278, 330, 4176, 30, 2, 198]);
    expect(labels.every((label, i) => label === IGNORED || label === ids[i])).toBe(true);
  });
});
