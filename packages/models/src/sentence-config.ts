import { ConfigError } from "@lowrank/tensor";
import { type ConfigJson, ConfigReader, readConfigJson } from "./config.js";
import { FormatError } from "./format-error.js";
import { scanJson } from "./json-scan.js";
import { type Folder, type FolderInput, openFolder, readSmallFile } from "./source.js";

/** How the states of a text's tokens become one vector. */
export type Pooling = "mean" | "cls" | "max" | "mean_sqrt_len_tokens";

/** How a model of sentence embeddings is meant to be used. */
export interface SentenceConfig {
  pooling: Pooling;
  /** Whether vectors are brought to length 1. */
  normalize: boolean;
  /** Tokens at which texts are cut; undefined: the positions of the model. */
  maxLength: number | undefined;
}

const POOLINGS: readonly Pooling[] = ["mean", "cls", "max", "mean_sqrt_len_tokens"];
const MAX_BYTES = 1 << 20;

/**
 * Reads the files that sentence-transformers puts beside a model: `modules.json`, the pooling's `config.json` and
 * `sentence_bert_config.json`. A folder without them has mean pooling, and vectors of length 1.
 *
 * @throws ConfigError for a step that is not supported, such as a dense layer on top.
 */
export async function loadSentenceConfig(input: FolderInput): Promise<SentenceConfig> {
  const folder = await openFolder(input);
  const steps = await readSteps(folder);
  const poolingPath = steps?.find(({ kind }) => kind === "Pooling")?.path ?? "1_Pooling";
  const pooling = await readOptional(folder, `${poolingPath}/config.json`);
  const length = await readOptional(folder, "sentence_bert_config.json");
  const most = length?.raw("max_seq_length");
  return {
    pooling: pooling === undefined ? "mean" : readPooling(pooling),
    normalize: steps === undefined || steps.some(({ kind }) => kind === "Normalize"),
    maxLength: most === undefined ? undefined : length!.integer("max_seq_length", undefined, 3, 2 ** 31 - 1),
  };
}

interface Step {
  kind: string;
  path: string;
}

/** The steps that `modules.json` lists, or undefined if there is none. */
async function readSteps(folder: Folder): Promise<Step[] | undefined> {
  const bytes = await readSmallFile(folder, "modules.json", MAX_BYTES);
  if (bytes === undefined) return undefined;
  const where = `${folder.name}/modules.json`;
  const list = scanJson(bytes, { where, numbers: "any" });
  if (!Array.isArray(list)) {
    throw new FormatError({ format: "json", where, expected: "a list", got: "another value" });
  }
  return list.map((item) => {
    const [type, path] = item instanceof Map ? [item.get("type"), item.get("path")] : [];
    if (typeof type !== "string" || typeof path !== "string") {
      throw new FormatError({
        format: "json",
        where,
        expected: "steps with type and path",
        got: "another value",
      });
    }
    const kind = type.slice(type.lastIndexOf(".") + 1);
    if (!["Transformer", "Pooling", "Normalize"].includes(kind)) {
      throw new ConfigError({
        where,
        expected: "steps Transformer, Pooling and Normalize",
        got: kind.slice(0, 60),
      });
    }
    return { kind, path };
  });
}

async function readOptional(folder: Folder, path: string): Promise<ConfigReader | undefined> {
  if ((await readSmallFile(folder, path, MAX_BYTES)) === undefined) return undefined;
  const json: ConfigJson = await readConfigJson(folder, path);
  return new ConfigReader(`${folder.name}/${path}`, json);
}

function readPooling(read: ConfigReader): Pooling {
  const named = read.raw("pooling_mode");
  if (named !== undefined) {
    return (
      POOLINGS.find((mode) => mode === named) ?? read.fail("pooling_mode", `one of ${POOLINGS.join(", ")}`)
    );
  }
  const field = (mode: string): string =>
    `pooling_mode_${{ cls: "cls_token", mean: "mean_tokens", max: "max_tokens" }[mode] ?? mode}`;
  for (const other of ["weightedmean_tokens", "lasttoken"]) {
    if (read.boolean(`pooling_mode_${other}`, false)) read.fail(`pooling_mode_${other}`, "false");
  }
  const chosen = POOLINGS.filter((mode) => read.boolean(field(mode), false));
  if (chosen.length === 1) return chosen[0]!;
  return read.fail(field(chosen[1] ?? "mean"), "the only kind of pooling that is true");
}
