import type { Architecture } from "./architecture.js";
import { type ConfigJson, ConfigReader } from "./config.js";
import { LlamaForCausalLM } from "./llama.js";
import { familyConfigJson, type LlamaConfig, readFamilyConfig } from "./llama-config.js";
import { uniformWindows } from "./sliding-window.js";

/** Reads a `config.json` of architecture MistralForCausalLM. */
export function parseMistralConfig(json: ConfigJson): LlamaConfig {
  const read = new ConfigReader("config.json of MistralForCausalLM", json);
  const config = readFamilyConfig(read, { maxPositions: 131_072, kvHeads: 8 });
  return { ...config, windows: uniformWindows(read, config.layers, 4096) };
}

/**
 * Mistral: Llama's blocks, with queries that see the last `sliding_window` keys where the file sets one.
 *
 * Source: Jiang et al. 2023, arXiv:2310.06825, section 2.
 */
export class MistralForCausalLM extends LlamaForCausalLM {
  protected override settingsJson(config: LlamaConfig, dtype: string): Record<string, unknown> {
    return {
      ...familyConfigJson(config, dtype, "MistralForCausalLM", "mistral"),
      sliding_window: config.windows[0],
    };
  }
}

export const mistral: Architecture<MistralForCausalLM> = {
  name: "MistralForCausalLM",
  modelType: "mistral",
  task: "text-generation",
  create: (json, options) => new MistralForCausalLM(parseMistralConfig(json), options),
};
