import { showDifference, stateDifference } from "@lowrank/nn";
import {
  type Activations,
  type DType,
  type Key,
  key as makeKey,
  normal,
  type Parameter,
  type Tensor,
  zeros,
} from "@lowrank/tensor";
import { type Architecture, architectureOf } from "./architecture.js";
import { byModelName, hasTensor } from "./checkpoint-names.js";
import { type ConfigJson, ConfigReader, readModelConfig } from "./config.js";
import { FormatError } from "./format-error.js";
import { openCheckpoint, type SafetensorsEntry } from "./safetensors.js";
import { type Folder, type FolderInput, openFolder } from "./source.js";
import { loadTensor } from "./stored-tensor.js";
import { takeValues } from "./take-values.js";
import type { Task, TaskModels } from "./task.js";

export interface PretrainedOptions {
  /**
   * Precision in which parameters are kept. "stored" keeps that of the file: half precision and the codes of GGUF are
   * widened where they are multiplied, never in a copy. Weights in codes are frozen. Default "stored".
   */
  dtype?: DType | "stored";
  /**
   * How products with codes of GGUF take their other operand, see `quantizedMatmul`: "int8" and "int16" round it for speed.
   * Default "f32", as it is.
   */
  activations?: Activations;
  /**
   * Puts each parameter onto the backend in use as soon as it is read, so that its numbers are in memory once and
   * conversions need room for one tensor. Default false: parameters stay on the host until they are first used, on the
   * backend of then.
   */
  resident?: boolean;
  /**
   * Reads what describes the weights and none of them: parameters are zeros in their stored precision, which take memory
   * when they are first used. Without a file of weights the precision is that of `config.json`. For estimates. Default
   * false.
   */
  outline?: boolean;
  signal?: AbortSignal;
}

export interface ModelOptions<T extends Task = Task> extends PretrainedOptions {
  /**
   * What the model is to be for. A file of another head over the same base gives the base, and a head that it lacks is
   * made anew. Default: what the file names.
   */
  task?: T;
  /** Names of the classes of a new head. Default: those of the configuration. */
  labels?: readonly string[];
  /** For the random start of a new head. Default `key(0)`. */
  key?: Key;
}

/**
 * Loads a model of any task from a Hugging Face folder, in evaluation mode.
 *
 * @example
 * ```ts
 * const encoder = await modelFromPretrained("all-MiniLM-L6-v2", { task: "feature-extraction" });
 * const classifier = await modelFromPretrained("all-MiniLM-L6-v2", {
 *   task: "text-classification",
 *   labels: ["ham", "spam"],
 * });
 * ```
 * @throws ConfigError for an unknown architecture or a field out of range, FormatError for a damaged file or one whose
 * tensors are not those of the architecture.
 */
export async function modelFromPretrained<T extends Task>(
  input: FolderInput,
  { task, labels, key = makeKey(0), ...options }: ModelOptions<T> = {},
): Promise<TaskModels[T]> {
  const { dtype = "stored", resident = false, outline = false, signal } = options;
  const folder = await openFolder(input);
  const json = await readModelConfig(folder);
  const architecture = architectureOf(json, `${folder.name}/config.json`, task);
  if (outline && !(await hasWeights(folder))) {
    const dtype = options.dtype ?? "stored";
    const model = architecture.create(json, { dtype: dtype === "stored" ? dtypeOf(json) : dtype, labels });
    return model.eval() as TaskModels[Task] as TaskModels[T];
  }
  const archive = await openCheckpoint(folder);
  try {
    const model = architecture.create(json, {
      dtype: dtype === "stored" ? undefined : dtype,
      labels,
      has: hasTensor(archive.tensors, architecture.base),
    });
    const wanted = model.state();
    const entries = byModelName(archive.tensors, wanted, architecture);
    // A tied head may be in the file again; the table of the embedding holds.
    const head = "outputHead" in model ? `${model.outputHead}.weight` : "";
    if (!wanted.has(head)) entries.delete(head);
    const fresh = isOfAnotherTask(json, architecture) ? takeBase(entries, wanted, architecture) : [];
    expectTensors(archive.name, wanted, entries, fresh, architecture.name);
    const sources = new Map<string, SafetensorsEntry | null>(entries);
    for (const name of fresh) sources.set(name, null);
    const read = async (entry: SafetensorsEntry | null, name: string): Promise<Tensor> =>
      entry === null
        ? freshHead(name, wanted.get(name)!, json, key)
        : loadTensor(entry, archive.name, outline);
    await takeValues(model, sources, read, { dtype, resident, signal });
    return model.eval() as TaskModels[Task] as TaskModels[T];
  } finally {
    await archive.close();
  }
}

async function hasWeights(folder: Folder): Promise<boolean> {
  for (const name of ["model.safetensors", "model.safetensors.index.json"]) {
    const source = await folder.open(name);
    await source?.close();
    if (source !== undefined) return true;
  }
  return false;
}

/** The precision that the configuration names for the weights. */
function dtypeOf(json: ConfigJson): DType {
  const name = String(json["torch_dtype"] ?? json["dtype"]);
  const known: Record<string, DType> = { float16: "f16", bfloat16: "bf16", float64: "f64" };
  return Object.hasOwn(known, name) ? known[name]! : "f32";
}

function isOfAnotherTask(json: ConfigJson, { name }: Architecture): boolean {
  const named = json["architectures"];
  return Array.isArray(named) && !named.includes(name);
}

/** Leaves only what the model has a place for, and names the parameters of heads that the file has not. */
function takeBase(
  entries: Map<string, unknown>,
  wanted: ReadonlyMap<string, Parameter>,
  { heads = [] }: Architecture,
): string[] {
  for (const name of [...entries.keys()]) if (!wanted.has(name)) entries.delete(name);
  return [...wanted.keys()].filter(
    (name) => !entries.has(name) && heads.some((head) => name.startsWith(`${head}.`)),
  );
}

function expectTensors(
  where: string,
  wanted: ReadonlyMap<string, Parameter>,
  entries: ReadonlyMap<string, SafetensorsEntry>,
  fresh: readonly string[],
  architecture: string,
): void {
  const stored = new Map([...wanted].filter(([name]) => !fresh.includes(name)));
  const difference = showDifference(stateDifference(stored, entries));
  if (difference === "") return;
  throw new FormatError({
    format: "safetensors",
    where,
    expected: `the ${stored.size} tensors of ${architecture} as config.json describes it`,
    got: difference,
    hint: "check that config.json and the weights belong together",
  });
}

/** Weights at N(0, initializer_range²), biases at zero. */
function freshHead(name: string, { shape, ndim, dtype }: Parameter, json: ConfigJson, key: Key): Tensor {
  const std = new ConfigReader("config.json", json).positive("initializer_range", 0.02);
  return ndim < 2 ? zeros(shape, { dtype }) : normal(shape, { key: key.foldName(name), std, dtype });
}
