import type { Architecture } from "./architecture.js";
import { type ConfigJson, ConfigReader } from "./config.js";
import { LlamaForCausalLM } from "./llama.js";
import { familyConfigJson, type LlamaConfig, readFamilyConfig } from "./llama-config.js";
import { layerWindows, layerWindowsJson } from "./sliding-window.js";

/** Reads a `config.json` of architecture Qwen3ForCausalLM (the dense models). */
export function parseQwen3Config(json: ConfigJson): LlamaConfig {
  const read = new ConfigReader("config.json of Qwen3ForCausalLM", json);
  const config = readFamilyConfig(read, { maxPositions: 32_768, kvHeads: 32, headDim: 128 });
  return {
    ...config,
    attentionBias: read.boolean("attention_bias", false),
    qkNorm: true,
    windows: layerWindows(read, config.layers),
  };
}

/**
 * Qwen3: Llama's blocks with an RMS norm over every head's queries and keys before they turn.
 *
 * Source: Yang et al. 2025, arXiv:2505.09388, section 2.
 */
export class Qwen3ForCausalLM extends LlamaForCausalLM {
  protected override settingsJson(config: LlamaConfig, dtype: string): Record<string, unknown> {
    return {
      ...familyConfigJson(config, dtype, "Qwen3ForCausalLM", "qwen3"),
      ...layerWindowsJson(config.windows),
      attention_bias: config.attentionBias,
    };
  }
}

export const qwen3: Architecture<Qwen3ForCausalLM> = {
  name: "Qwen3ForCausalLM",
  modelType: "qwen3",
  task: "text-generation",
  create: (json, options) => new Qwen3ForCausalLM(parseQwen3Config(json), options),
};
