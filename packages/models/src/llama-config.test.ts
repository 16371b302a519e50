import { ConfigError } from "@lowrank/tensor";
import { describe, expect, test } from "vitest";
import { architectureOf } from "./architecture.js";
import { llamaConfigJson, parseLlamaConfig } from "./llama-config.js";

const small = {
  vocab_size: 100,
  hidden_size: 64,
  intermediate_size: 128,
  num_hidden_layers: 2,
  num_attention_heads: 4,
};

describe("parseLlamaConfig", () => {
  test("fills in the defaults of Hugging Face", () => {
    expect(parseLlamaConfig(small)).toEqual({
      vocabSize: 100,
      hiddenSize: 64,
      intermediateSize: 128,
      layers: 2,
      heads: 4,
      kvHeads: 4,
      headDim: 16,
      maxPositions: 2048,
      rmsNormEps: 1e-6,
      ropeTheta: 10_000,
      ropeScaling: null,
      tieWordEmbeddings: false,
      attentionBias: false,
      mlpBias: false,
      qkNorm: false,
      windows: [null, null],
      initializerRange: 0.02,
      bosTokenIds: [],
      eosTokenIds: [],
      padTokenIds: [],
    });
  });

  test("reads rotary scaling of Llama 3.1 from the old place and the new", () => {
    const scaling = {
      rope_type: "llama3",
      factor: 8,
      low_freq_factor: 1,
      high_freq_factor: 4,
      original_max_position_embeddings: 8192,
    };
    const old = parseLlamaConfig({ ...small, rope_theta: 500_000, rope_scaling: scaling });
    const now = parseLlamaConfig({ ...small, rope_parameters: { ...scaling, rope_theta: 500_000 } });
    expect(old.ropeScaling).toEqual({
      type: "llama3",
      factor: 8,
      lowFrequencyFactor: 1,
      highFrequencyFactor: 4,
      originalPositions: 8192,
    });
    expect(now).toEqual(old);
    expect(parseLlamaConfig({ ...small, rope_scaling: { type: "linear", factor: 2 } }).ropeScaling).toEqual({
      type: "linear",
      factor: 2,
    });
  });

  test("what it writes it reads back", () => {
    const config = parseLlamaConfig({
      ...small,
      num_key_value_heads: 2,
      eos_token_id: [1, 2],
      bos_token_id: 0,
      tie_word_embeddings: true,
      rope_scaling: { rope_type: "linear", factor: 4 },
    });
    const json = JSON.parse(JSON.stringify(llamaConfigJson(config, "float16")));
    expect(parseLlamaConfig(json)).toEqual(config);
    expect(json).toMatchObject({
      architectures: ["LlamaForCausalLM"],
      torch_dtype: "float16",
      eos_token_id: [1, 2],
    });
  });

  test.each([
    { rope_type: "dynamic", factor: 3 },
    { rope_type: "yarn", factor: 4, mscale: 1.5, mscale_all_dim: 0.5, original_max_position_embeddings: 512 },
    { type: "su", short_factor: Array(8).fill(1), long_factor: Array(8).fill(2), attention_factor: 1.2 },
  ])("writes and reads back %o", (rope_scaling) => {
    const config = parseLlamaConfig({ ...small, rope_scaling });
    expect(parseLlamaConfig(llamaConfigJson(config, "float32"))).toEqual(config);
  });

  test("dynamic scaling goes on where the positions of the file end", () => {
    const config = parseLlamaConfig({ ...small, rope_scaling: { type: "dynamic", factor: 3 } });
    expect(config.maxPositions).toBe(3 * 2048);
    expect(llamaConfigJson(config, "float32")).toMatchObject({ max_position_embeddings: 2048 });
  });

  test("positions of the pretraining beside the scaling go before those inside", () => {
    const rope_scaling = { type: "yarn", factor: 2, original_max_position_embeddings: 100 };
    const config = parseLlamaConfig({ ...small, rope_scaling, original_max_position_embeddings: 200 });
    expect(config.ropeScaling).toMatchObject({ originalPositions: 200 });
  });

  test.each([
    [{ vocab_size: undefined }, /vocab_size to be an integer from 1 to 16777216, got nothing/],
    [{ hidden_size: "64" }, /hidden_size to be an integer .*, got "64"/],
    [{ num_hidden_layers: 1e9 }, /num_hidden_layers to be an integer from 1 to 4096/],
    [{ num_attention_heads: 3 }, /head_dim to be given/],
    [{ num_key_value_heads: 3 }, /num_key_value_heads to be a divisor of num_attention_heads \(4\)/],
    [{ hidden_act: "gelu" }, /hidden_act to be "silu", got "gelu"/],
    [
      { rope_scaling: { rope_type: "axial" } },
      /rope_type to be "default", "linear", "dynamic", "llama3", "yarn" or "longrope", got "axial"/,
    ],
    [{ rope_parameters: { full_attention: {} } }, /full_attention to be absent, got an object; .*not read/],
    [{ rope_parameters: { partial_rotary_factor: 0.5 } }, /partial_rotary_factor to be 1, got 0.5/],
    [
      { rope_scaling: { type: "longrope", short_factor: [1], long_factor: [1] } },
      /short_factor to be a list of 8 positive numbers, one per pair, got a list/,
    ],
    [
      { rope_scaling: { type: "yarn", factor: 2, beta_slow: 40 } },
      /beta_fast to be at least beta_slow \(40\)/,
    ],
    [{ rope_scaling: [] }, /rope_scaling to be an object, got a list/],
    [{ eos_token_id: "x" }, /eos_token_id to be a token id or a list of them/],
    [{ rms_norm_eps: 0 }, /rms_norm_eps to be a positive number/],
  ])("refuses %o", (change, message) => {
    expect(() => parseLlamaConfig({ ...small, ...change })).toThrow(message);
    expect(() => parseLlamaConfig({ ...small, ...change })).toThrow(ConfigError);
  });
});

describe("architectureOf", () => {
  test("goes by architectures, else by model_type, and lists the known ones", () => {
    expect(architectureOf({ architectures: ["LlamaForCausalLM"] }).name).toBe("LlamaForCausalLM");
    expect(architectureOf({ model_type: "llama" }).name).toBe("LlamaForCausalLM");
    expect(() => architectureOf({ architectures: ["MambaForCausalLM"], model_type: "llama" })).toThrow(
      /one of the architectures LlamaForCausalLM, MistralForCausalLM, .*, got "MambaForCausalLM"/,
    );
    expect(() => architectureOf({})).toThrow(/got none named/);
  });
});
