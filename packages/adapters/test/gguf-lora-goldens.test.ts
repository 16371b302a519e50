import { createHash } from "node:crypto";
import { mkdtemp, readFile, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { type CausalLM, fromPretrained, generate } from "@lowrank/models";
import { setDefaultBackend } from "@lowrank/tensor";
import { beforeAll, describe, expect, test } from "vitest";
import { noTestModels, testModel } from "../../../scripts/test-models.js";
import { loadGgufLora, saveGgufLora } from "../src/index.js";
import { testBackend } from "./backend.js";
import { NEW_TOKENS, seededAdapter } from "./seeded-adapter.js";

interface Golden {
  sha256: string;
  continuations: { text: string; prompt: number[]; base: number[]; adapted: number[] }[];
}

async function continued(model: CausalLM, prompt: readonly number[]): Promise<number[]> {
  const out: number[] = [];
  const options = { greedy: true, maxNewTokens: NEW_TOKENS, stopIds: [] };
  for await (const id of generate(model, prompt, options)) out.push(id);
  return out;
}

beforeAll(async () => setDefaultBackend(await testBackend()));

// goldens/make-gguf-lora.ts: llama.cpp read the same file beside the same model.
describe.skipIf(noTestModels !== null)("an adapter for SmolLM2-135M in GGUF", () => {
  test("is the file that llama.cpp read, and continues as it does there", { timeout: 120_000 }, async () => {
    const path = new URL("./goldens/gguf-lora.json", import.meta.url);
    const { sha256, continuations } = JSON.parse(await readFile(path, "utf8")) as Golden;
    const folder = await mkdtemp(join(tmpdir(), "gguf-lora-"));
    try {
      const model = await fromPretrained(testModel("SmolLM2-135M-Instruct.Q4_1.gguf"), { resident: true });
      const file = join(folder, "adapter.gguf");
      const made = seededAdapter(model);
      await saveGgufLora(made, file);
      expect(
        createHash("sha256")
          .update(await readFile(file))
          .digest("hex"),
      ).toBe(sha256);
      made.detach();
      const { prompt, base } = continuations[1]!;
      expect(await continued(model, prompt)).toEqual(base);
      await loadGgufLora(model, file);
      for (const { text, prompt, adapted } of continuations)
        expect([text, await continued(model, prompt)]).toEqual([text, adapted]);
      expect(continuations.filter((c) => c.base.join() !== c.adapted.join()).length).toBe(3);
    } finally {
      await rm(folder, { recursive: true });
    }
  });
});
