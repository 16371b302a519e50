import { ConfigError, type DType } from "@lowrank/tensor";
import type { CausalLM } from "./causal-lm.js";
import type { ConfigJson } from "./config.js";
import { quoteName } from "./format-error.js";
import { llama } from "./llama.js";
import { mistral } from "./mistral.js";
import { qwen2 } from "./qwen2.js";
import { qwen3 } from "./qwen3.js";

/** How a model is made from its `config.json`. */
export interface Architecture<M extends CausalLM = CausalLM> {
  /** Name under `architectures` in the file. */
  readonly name: string;
  /** Name under `model_type`. */
  readonly modelType: string;
  /** A model with parameters at zero, to be loaded. */
  create(json: ConfigJson, options: { dtype?: DType }): M;
}

/** The architectures that can be read: a file each, and its line here. */
export const ARCHITECTURES: readonly Architecture[] = [llama, mistral, qwen2, qwen3];

/**
 * The architecture that a `config.json` names, under `architectures` or else `model_type`.
 *
 * @throws ConfigError that lists the known ones.
 */
export function architectureOf(json: ConfigJson, where = "config.json"): Architecture {
  const listed: unknown = json["architectures"];
  const names = Array.isArray(listed) ? listed.filter((n): n is string => typeof n === "string") : [];
  const type = typeof json["model_type"] === "string" ? json["model_type"] : undefined;
  const found =
    names.length > 0
      ? ARCHITECTURES.find((a) => names.includes(a.name))
      : ARCHITECTURES.find((a) => a.modelType === type);
  if (found !== undefined) return found;
  const got = names.length > 0 ? names : type === undefined ? [] : [type];
  throw new ConfigError({
    where,
    expected: `one of the architectures ${ARCHITECTURES.map((a) => a.name).join(", ")}`,
    got: got.length > 0 ? got.slice(0, 4).map(quoteName).join(", ") : "none named",
  });
}
