import type { Architecture } from "./architecture.js";
import { type ConfigJson, ConfigReader } from "./config.js";
import { LlamaForCausalLM } from "./llama.js";
import { familyConfigJson, type LlamaConfig, readFamilyConfig } from "./llama-config.js";
import { layerWindows, layerWindowsJson } from "./sliding-window.js";

/** Reads a `config.json` of architecture Qwen2ForCausalLM, which is also that of Qwen2.5. */
export function parseQwen2Config(json: ConfigJson): LlamaConfig {
  const read = new ConfigReader("config.json of Qwen2ForCausalLM", json);
  const config = readFamilyConfig(read, { maxPositions: 32_768, kvHeads: 32 });
  return { ...config, attentionBias: "qkv", windows: layerWindows(read, config.layers) };
}

/**
 * Qwen2 and Qwen2.5: Llama's blocks with biases of queries, keys and values, and a sliding window in some layers where the
 * file says so.
 *
 * Source: Yang et al. 2024, arXiv:2407.10671, section 2.2.
 */
export class Qwen2ForCausalLM extends LlamaForCausalLM {
  protected override settingsJson(config: LlamaConfig, dtype: string): Record<string, unknown> {
    return {
      ...familyConfigJson(config, dtype, "Qwen2ForCausalLM", "qwen2"),
      ...layerWindowsJson(config.windows),
    };
  }
}

export const qwen2: Architecture<Qwen2ForCausalLM> = {
  name: "Qwen2ForCausalLM",
  modelType: "qwen2",
  task: "text-generation",
  create: (json, options) => new Qwen2ForCausalLM(parseQwen2Config(json), options),
};
