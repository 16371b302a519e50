import { ConfigError, type DType } from "@lowrank/tensor";
import { bert } from "./bert.js";
import { bertForSequenceClassification, bertForTokenClassification } from "./bert-classifier.js";
import type { ConfigJson } from "./config.js";
import { quoteName } from "./format-error.js";
import { gpt2 } from "./gpt2.js";
import { llama } from "./llama.js";
import { mistral } from "./mistral.js";
import type { PretrainedModel } from "./pretrained-model.js";
import { qwen2 } from "./qwen2.js";
import { qwen3 } from "./qwen3.js";
import type { Task, TaskModels } from "./task.js";
import { vit } from "./vit.js";
import { vitForImageClassification } from "./vit-classifier.js";

export interface CreateOptions {
  /** Storage type of the parameters. Default f32. */
  dtype?: DType | undefined;
  /** Names of the classes, where a head is made anew. Default: those of the configuration. */
  labels?: readonly string[] | undefined;
  /** Whether the file has a tensor, named from the base model on. Default: it has all. */
  has?: ((name: string) => boolean) | undefined;
}

/** How a model is made from its `config.json`. */
export interface Architecture<M extends PretrainedModel = PretrainedModel> {
  /** Name under `architectures` in the file. */
  readonly name: string;
  /** Name under `model_type`. */
  readonly modelType: string;
  readonly task: Task;
  /** What stands before the names of the base model where it has a head; files may have it or not. */
  readonly base?: string;
  /** Parts that are made anew where the file is of another task and has none. */
  readonly heads?: readonly string[];
  /** Tensors of files that the model does without. */
  readonly ignored?: RegExp;
  /** A model with parameters at zero, to be loaded. */
  create(json: ConfigJson, options: CreateOptions): M;
}

/** The architectures that can be read: a file each, and its line here. */
export const ARCHITECTURES: readonly Architecture[] = [
  llama,
  mistral,
  qwen2,
  qwen3,
  gpt2,
  bert,
  bertForSequenceClassification,
  bertForTokenClassification,
  vit,
  vitForImageClassification,
];

const namesFor = (architectures: readonly Architecture[]): string =>
  architectures.map((a) => a.name).join(", ");

/**
 * The architecture that a `config.json` names, under `architectures` or else `model_type`. Where a task is asked for that
 * the one named is not made for, another of its model type that is: the same base model with another head.
 *
 * @throws ConfigError that lists the known ones.
 */
export function architectureOf<T extends Task>(
  json: ConfigJson,
  where = "config.json",
  task?: T,
): Architecture<TaskModels[T]> {
  return find(json, where, task) as Architecture as Architecture<TaskModels[T]>;
}

function find(json: ConfigJson, where: string, task: Task | undefined): Architecture {
  const listed: unknown = json["architectures"];
  const names = Array.isArray(listed) ? listed.filter((n): n is string => typeof n === "string") : [];
  const type = typeof json["model_type"] === "string" ? json["model_type"] : undefined;
  const found =
    names.length > 0
      ? ARCHITECTURES.find((a) => names.includes(a.name))
      : ARCHITECTURES.find((a) => a.modelType === type && (task === undefined || a.task === task));
  if (found !== undefined && (task === undefined || found.task === task)) return found;
  const family = found?.modelType ?? type;
  const kin = ARCHITECTURES.filter((a) => a.modelType === family && a.task !== "text-generation");
  const other = kin.find((a) => a.task === task);
  if (other !== undefined) return other;
  const got = names.length > 0 ? names : type === undefined ? [] : [type];
  const shown = got.length > 0 ? got.slice(0, 4).map(quoteName).join(", ") : "none named";
  const tasks = [...new Set(kin.map((a) => `task "${a.task}"`))].join(" or ");
  if (task !== undefined && (found !== undefined || kin.length > 0)) {
    throw new ConfigError({
      where,
      expected: `an architecture for ${task} (${namesFor(ARCHITECTURES.filter((a) => a.task === task))})`,
      got: shown,
      hint: tasks === "" ? "load it with fromPretrained" : `load it with modelFromPretrained and ${tasks}`,
    });
  }
  throw new ConfigError({
    where,
    expected: `one of the architectures ${namesFor(ARCHITECTURES)}`,
    got: shown,
    hint: tasks === "" ? undefined : `its base may be read by modelFromPretrained with ${tasks}`,
  });
}
