import { describe, expect, test } from "vitest";
import { ARCHITECTURES } from "./architecture.js";
import { parseLlamaConfig } from "./llama-config.js";
import { MistralForCausalLM, parseMistralConfig } from "./mistral.js";
import { parseQwen2Config, Qwen2ForCausalLM } from "./qwen2.js";
import { parseQwen3Config, Qwen3ForCausalLM } from "./qwen3.js";

const small = {
  vocab_size: 10,
  hidden_size: 8,
  intermediate_size: 12,
  num_hidden_layers: 3,
  num_attention_heads: 2,
  num_key_value_heads: 1,
};

describe("sliding windows", () => {
  test("Mistral has one for all layers, 4096 if the file says nothing, none for null", () => {
    const windows = (json: object) => parseMistralConfig({ ...small, ...json }).windows;
    expect(windows({})).toEqual([4096, 4096, 4096]);
    expect(windows({ sliding_window: 8 })).toEqual([8, 8, 8]);
    expect(windows({ sliding_window: null })).toEqual([null, null, null]);
  });

  test("Qwen's are off unless asked for, and then by layer", () => {
    const windows = (json: object) => parseQwen2Config({ ...small, sliding_window: 8, ...json }).windows;
    const types = ["sliding_attention", "full_attention", "sliding_attention"];
    expect(windows({})).toEqual([null, null, null]);
    expect(windows({ layer_types: types })).toEqual([null, null, null]);
    const on = { use_sliding_window: true };
    expect(windows({ ...on, max_window_layers: 1 })).toEqual([null, 8, 8]);
    expect(windows({ ...on, layer_types: types })).toEqual([8, null, 8]);
    expect(windows({ ...on, sliding_window: null })).toEqual([null, null, null]);
    expect(() => windows({ ...on, layer_types: ["full_attention"] })).toThrow(
      /layer_types to be a list of 3/,
    );
    expect(() => windows({ ...on, layer_types: [1, 2, 3] })).toThrow(/layer_types/);
  });

  test("Llama has none", () => {
    expect(parseLlamaConfig({ ...small, sliding_window: 8 }).windows).toEqual([null, null, null]);
  });
});

test("each member of the family writes what it reads back", () => {
  const json = { ...small, head_dim: 6, sliding_window: 4, use_sliding_window: true, max_window_layers: 2 };
  for (const [model, parse] of [
    [new MistralForCausalLM(parseMistralConfig(json)), parseMistralConfig],
    [new Qwen2ForCausalLM(parseQwen2Config(json)), parseQwen2Config],
    [new Qwen3ForCausalLM(parseQwen3Config({ ...json, attention_bias: true })), parseQwen3Config],
  ] as const) {
    const written = JSON.parse(JSON.stringify(model.configJson("float32")));
    expect(parse(written)).toEqual(model.config);
    const listed = ARCHITECTURES.find((a) => a.name === written.architectures[0]);
    expect(listed?.modelType).toBe(written.model_type);
    expect(listed?.create(written, {}).constructor).toBe(model.constructor);
  }
});
