import { GGUF_ARCHITECTURES, ggufName, parameterName } from "@lowrank/models";
import type { Module } from "@lowrank/nn";
import { ConfigError } from "@lowrank/tensor";
import type { Target } from "./adapter.js";

/** What the files of llama.cpp ask of a model. */
export interface GgufBase {
  /** `general.architecture`. */
  readonly architecture: string;
  /** Heads of a layer whose rows are stored in pairs, else 0. */
  headsOf(path: string): number;
  /** Whether the output head is the table of the embedding. */
  readonly tied: boolean;
}

/** Model types of Hugging Face that llama.cpp has under another name. */
const OTHER_NAMES: Readonly<Record<string, string>> = { mistral: "llama" };

/** Reads from a model's configuration how llama.cpp names and lays out its layers. */
export function ggufBase(model: Module, where: string): GgufBase {
  const json = (model as { configJson?: (dtype: string) => Record<string, unknown> }).configJson?.("float32");
  const type = String(json?.["model_type"]);
  const known = GGUF_ARCHITECTURES.filter(({ own }) => own === undefined);
  const found = known.find((a) => a.name === (OTHER_NAMES[type] ?? type));
  if (json === undefined || found === undefined) {
    throw new ConfigError({
      where,
      expected: `a model of type ${known.map((a) => a.modelType).join(", ")} or ${Object.keys(OTHER_NAMES).join(", ")}`,
      got: json === undefined ? "a module without a configuration" : JSON.stringify(json["model_type"]),
    });
  }
  const heads = json["num_attention_heads"] as number;
  const kvHeads = (json["num_key_value_heads"] ?? heads) as number;
  return {
    architecture: found.name,
    headsOf: (path) => {
      if (!found.pairedRows) return 0;
      return path.endsWith(".q_proj") ? heads : path.endsWith(".k_proj") ? kvHeads : 0;
    },
    tied: json["tie_word_embeddings"] === true,
  };
}

/**
 * Name in GGUF of the weight that an adapter sits on.
 *
 * @throws ConfigError for a layer that llama.cpp has no name for, or where it would put the update onto more than that layer.
 */
export function ggufLayerName(where: string, { path, kind }: Target, { tied }: GgufBase): string {
  const name = kind === "linear" || kind === "embedding" ? ggufName(`${path}.weight`) : undefined;
  if (name === undefined) {
    throw new ConfigError({
      where,
      expected: "layers that llama.cpp has a name for",
      got: `${kind} ${path}`,
      hint: "merge the adapter into the model instead",
    });
  }
  if (tied && (name === "output.weight" || name === "token_embd.weight")) {
    throw new ConfigError({
      where,
      expected:
        "no adapter on an embedding and a head that share their table: llama.cpp has one tensor for both",
      got: path,
      hint: "merge the adapter into the model instead",
    });
  }
  return name;
}

/** The layer whose weight has a name in GGUF, or undefined. */
export const layerOfGgufName = (name: string): string | undefined =>
  parameterName(name)?.replace(/\.weight$/, "");

/**
 * Rows [out, n] of queries or keys in the order of llama.cpp: of each head, row i + j · headDim / 2 becomes row 2i + j, so that
 * the two which turn together are neighbours. `back` undoes it.
 */
export function pairRows(values: Float32Array, rows: number, heads: number, back = false): Float32Array {
  const [width, half] = [values.length / rows, rows / heads / 2];
  const out = new Float32Array(values.length);
  for (let paired = 0; paired < rows; paired++) {
    const [head, place] = [Math.floor(paired / (2 * half)), paired % (2 * half)];
    const apart = head * 2 * half + (place >> 1) + (place & 1) * half;
    const [from, to] = back ? [paired, apart] : [apart, paired];
    out.set(values.subarray(from * width, (from + 1) * width), to * width);
  }
  return out;
}

/** [rows, columns] as [columns, rows]. */
export function transposed(values: Float32Array, rows: number): Float32Array {
  const columns = values.length / rows;
  return Float32Array.from(
    values,
    (_, i) => values[(i % rows) * columns + Math.floor(i / rows)]!, // out[c, r] = in[r, c]
  );
}
