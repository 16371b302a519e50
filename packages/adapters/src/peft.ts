import {
  checkFileName,
  encodeSafetensors,
  type FileContent,
  type Folder,
  type FolderInput,
  type FolderWriteOptions,
  loadTensor,
  openFolder,
  openSafetensors,
  readConfigJson,
  type SafetensorsFile,
  storedTensor,
  writeFolderAtomic,
} from "@lowrank/models";
import { type Module, showDifference, stateDifference } from "@lowrank/nn";
import { ConfigError, type Tensor } from "@lowrank/tensor";
import { type Adapter, type AdapterFormat, peftTypeOf, tensorName } from "./adapter.js";
import { linearCompile } from "./pattern.js";
import { type AttachOptions, type AttachPlan, carryOut, planAttach } from "./attach.js";
import type { Attached } from "./attached.js";
import type { FullModules } from "./full-modules.js";
import { lora } from "./lora.js";
import type { Entry } from "./stack.js";

const CONFIG = "adapter_config.json";
const WEIGHTS = "adapter_model.safetensors";
const PREFIX = "base_model.model.";

export interface PeftSaveOptions {
  /** Name or path of the base model, for `base_model_name_or_path`. */
  baseModel?: string;
  /** Default "CAUSAL_LM". */
  taskType?: string;
}

const plain = (adapter: Adapter): Pick<AdapterFormat<object>, "toJson" | "fromJson"> =>
  adapter.format ?? { toJson: (config) => ({ ...config }), fromJson: (json) => withoutOurs(json) };

/** A configuration of a method that PEFT does not have: what is left without the fields of the frame. */
function withoutOurs(json: Readonly<Record<string, unknown>>): object {
  const frame = new Set(Object.keys(frameFields({ targets: [] }, {})).concat("peft_type"));
  return Object.fromEntries(Object.entries(json).filter(([name]) => !frame.has(name)));
}

/** Methods of PEFT that have ranks and alphas per layer. */
const WITH_PATTERNS = ["LORA", "LOHA", "LOKR"];

function frameFields(options: AttachOptions, { baseModel, taskType = "CAUSAL_LM" }: PeftSaveOptions): object {
  const { targets, exclude = null, layersToTransform = null, layersPattern = null } = options;
  return {
    alpha_pattern: options.alphaPattern ?? {},
    auto_mapping: null,
    base_model_name_or_path: baseModel ?? null,
    exclude_modules: exclude,
    inference_mode: true,
    layers_pattern: layersPattern,
    layers_to_transform: layersToTransform,
    modules_to_save: options.modulesToSave ?? null,
    rank_pattern: options.rankPattern ?? {},
    revision: null,
    target_modules: targets,
    task_type: taskType,
  };
}

const namesToSave = (params: object, { derived = [] }: Adapter): string[] =>
  Object.keys(params).filter((field) => !derived.includes(field));

/** Names in the file of an entry's parameters, with their fields. */
const fieldNames = ({ target, params }: Entry, adapter: Adapter): [name: string, field: string][] =>
  namesToSave(params, adapter).map((field) => [
    adapter.format?.shared?.[field] ?? `${PREFIX}${target.path}.${tensorName(adapter, target.kind, field)}`,
    field,
  ]);

/** Tensors of an adapter by their names in the file. */
const fileNames = (entries: readonly Entry[], adapter: Adapter, full: FullModules): Map<string, Tensor> =>
  new Map([
    ...entries.flatMap((entry) =>
      fieldNames(entry, adapter).map(([name, field]): [string, Tensor] => [name, entry.params[field]!]),
    ),
    ...full.parameters().map(([path, own]): [string, Tensor] => [PREFIX + path, own]),
  ]);

/**
 * The two files of a PEFT folder, `adapter_config.json` and `adapter_model.safetensors`, by name: for a download in a
 * browser, and for {@link savePeft}. The same adapter gives the same bytes.
 */
export async function peftFiles(
  attached: Attached,
  options: PeftSaveOptions = {},
): Promise<Map<string, Uint8Array>> {
  const { adapter, places, config } = attached;
  if (adapter.format?.ownRankPattern && Object.keys(attached.options.rankPattern ?? {}).length > 0) {
    throw new ConfigError({
      where: "peftFiles",
      expected: `one rank for all layers of ${adapter.name}, as its files have`,
      got: JSON.stringify(attached.options.rankPattern).slice(0, 120),
    });
  }
  // PEFT has no word for "all linear layers" in a file: the layers are written out.
  const targets =
    attached.options.targets === "all-linear" ? [...attached.layers].sort() : attached.options.targets;
  const json: Record<string, unknown> = {
    ...frameFields({ ...attached.options, targets }, options),
    ...plain(adapter).toJson(config),
    peft_type: peftTypeOf(adapter),
  };
  for (const field of ["rank_pattern", "alpha_pattern"]) {
    const idle = Object.keys(json[field] as object).length === 0;
    if (idle && !WITH_PATTERNS.includes(peftTypeOf(adapter))) delete json[field];
  }
  const sorted = Object.fromEntries(Object.entries(json).sort(([a], [b]) => (a < b ? -1 : 1)));
  const tensors = [
    ...fileNames(
      places.map(({ entry }) => entry),
      adapter,
      attached.full,
    ),
  ].map(([name, p]) => [name, storedTensor(p)] as const);
  return new Map([
    [CONFIG, new TextEncoder().encode(`${JSON.stringify(sorted, null, 2)}\n`)],
    [WEIGHTS, await encodeSafetensors(tensors, { metadata: { format: "pt" } })],
  ]);
}

export interface SavePeftOptions extends PeftSaveOptions, FolderWriteOptions {
  /** Further files for the folder. */
  files?: ReadonlyMap<string, FileContent>;
}

/**
 * Writes an adapter as PEFT reads it (Node). The folder appears whole or not at all.
 *
 * @example
 * ```ts
 * await savePeft(adapted, "out/adapter", { baseModel: "owner/name" });
 * ```
 */
export async function savePeft(
  attached: Attached,
  path: string,
  options: SavePeftOptions = {},
): Promise<void> {
  const { baseModel, taskType, files, ...write } = options;
  const own = await peftFiles(attached, { baseModel, taskType });
  await writeFolderAtomic(path, new Map<string, FileContent>([...own, ...(files ?? [])]), write);
}

export interface LoadPeftOptions {
  /** Name of the adapter in the model. Default "default". */
  name?: string;
  /** Whether to go on training it. Default false. */
  trainable?: boolean;
  /** Methods that may be in the file. Default: LoRA. */
  adapters?: readonly Adapter[];
}

/** What is in a PEFT folder, checked against a model that has not been changed. */
export interface PeftContent {
  readonly adapter: Adapter;
  readonly config: object;
  readonly options: AttachOptions;
  readonly plan: AttachPlan;
  /** The values of each entry's parameters. */
  readonly values: ReadonlyMap<Entry, Readonly<Record<string, Tensor>>>;
  /** The values of modules trained in full, by path; a GGUF file has none. */
  readonly full: ReadonlyMap<string, Tensor>;
}

/** Reads a PEFT folder for a model; throws as {@link loadPeft}. */
export async function readPeft(
  model: Module,
  input: FolderInput,
  { name = "default", adapters = [lora as unknown as Adapter] }: LoadPeftOptions,
): Promise<PeftContent> {
  const folder = await openFolder(input);
  const json = await readConfigJson(folder, CONFIG);
  const where = `${folder.name}/${CONFIG}`;
  const ofType = adapters.filter((a) => peftTypeOf(a) === json["peft_type"]);
  const adapter =
    ofType.find((a) => a.format?.matches?.(json)) ?? ofType.find((a) => a.format?.matches === undefined);
  if (adapter === undefined) {
    throw new ConfigError({
      where,
      expected: `peft_type to be one of ${adapters.map(peftTypeOf).join(", ")}`,
      got: JSON.stringify(json["peft_type"]) ?? "none",
      hint: "give the method that the file is of among the adapters of loadPeft",
    });
  }
  const config = plain(adapter).fromJson(json);
  const options = { ...frameOptions(where, json, adapter), name };
  const compile = hasExpressions(options) ? await linearCompile() : undefined;
  const plan = planAttach(model, adapter, config, options, { where, strict: false, compile });
  const wanted = fileNames(
    plan.layers.map(({ entry }) => entry),
    adapter,
    plan.full,
  );
  const archive = await openWeights(folder);
  try {
    const ignored = new Set(
      plan.layers.flatMap(({ entry }) => baseCopies(entry.target.path, entry.target.kind)),
    );
    const found = new Map([...archive.tensors].filter(([key]) => !ignored.has(key)));
    const difference = showDifference(stateDifference(wanted, found));
    if (difference !== "") {
      const base = json["base_model_name_or_path"];
      throw new ConfigError({
        where: archive.name,
        expected: `the ${wanted.size} tensors of ${adapter.name} for this model's layers`,
        got: difference,
        hint: `the adapter is for another base${typeof base === "string" ? `: ${JSON.stringify(base.slice(0, 120))}` : ""}, or its file is not whole`,
      });
    }
    const values = new Map<Entry, Record<string, Tensor>>();
    const read = new Set<string>(); // what layers share is read once
    for (const { entry } of plan.layers) {
      const own: Record<string, Tensor> = {};
      for (const [key, field] of fieldNames(entry, adapter)) {
        if (!read.has(key)) own[field] = await loadTensor(found.get(key)!, archive.name);
        read.add(key);
      }
      values.set(entry, own);
    }
    const full = new Map<string, Tensor>();
    for (const [path] of plan.full.parameters())
      full.set(path, await loadTensor(found.get(PREFIX + path)!, archive.name));
    return { adapter, config, options, plan, values, full };
  } finally {
    await archive.close();
  }
}

/**
 * Reads a PEFT folder and puts its adapter onto a model. The model is changed only after everything has been checked.
 *
 * @throws ConfigError if the method is not among `adapters`, a setting is not supported, or the tensors are not those that
 * the model's layers need (as with an adapter for another base), all listed; FormatError for a damaged file.
 */
export async function loadPeft<M extends Module>(
  model: M,
  input: FolderInput,
  options: LoadPeftOptions = {},
): Promise<Attached<M>> {
  const { adapter, config, options: chosen, plan, values, full } = await readPeft(model, input, options);
  for (const [{ params }, own] of values) {
    for (const [field, value] of Object.entries(own)) params[field]!.replace(value);
  }
  plan.full.load(full);
  const attached = carryOut(model, plan, adapter, config, chosen);
  if (!options.trainable) for (const [, p] of attached.parameters()) p.trainable = false;
  return attached;
}

/** Whether a selection has regular expressions beyond plain names. */
function hasExpressions({ targets, exclude, rankPattern, alphaPattern }: AttachOptions): boolean {
  const keys = Object.keys({ ...rankPattern, ...alphaPattern });
  const isPlain = (text: string): boolean => /^[\w.-]*$/.test(text);
  return ![targets, exclude, ...keys].every((text) => typeof text !== "string" || isPlain(text));
}

/** Copies of the frozen table that PEFT puts beside an embedding's adapter. */
const baseCopies = (path: string, kind: string): string[] =>
  kind === "embedding" ? [`${PREFIX}${path}.weight`, `${PREFIX}${path}.base_layer.weight`] : [];

async function openWeights(folder: Folder): Promise<SafetensorsFile> {
  const source = await folder.open(checkFileName(WEIGHTS, folder.name));
  if (source !== undefined) return openSafetensors(source);
  const pickle = await folder.open("adapter_model.bin");
  await pickle?.close();
  throw new ConfigError({
    where: folder.name,
    expected: WEIGHTS,
    got:
      pickle === undefined
        ? "no such file"
        : "adapter_model.bin, a pickle file that runs code when it is read",
    hint:
      pickle === undefined
        ? "check that this is the folder of an adapter"
        : "save it again with safe_serialization=True",
  });
}

/** The selection of layers in an `adapter_config.json`. */
function frameOptions(
  where: string,
  json: Readonly<Record<string, unknown>>,
  { format }: Adapter,
): AttachOptions {
  const fail = (field: string, expected: string): never => {
    throw new ConfigError({
      where,
      expected: `${field} to be ${expected}`,
      got: JSON.stringify(json[field])?.slice(0, 120) ?? "nothing",
    });
  };
  const value = (field: string): unknown => json[field] ?? undefined;
  const names = (field: string): readonly string[] | string | undefined => {
    const v = value(field);
    if (v === undefined || typeof v === "string") return v;
    return Array.isArray(v) && v.every((n) => typeof n === "string")
      ? v
      : fail(field, "a string or a list of strings");
  };
  const numbers = (field: string): Record<string, number> => {
    const v = value(field) ?? {};
    const ok =
      typeof v === "object" &&
      !Array.isArray(v) &&
      Object.values(v as object).every((n) => typeof n === "number");
    return ok ? (v as Record<string, number>) : fail(field, "an object of numbers");
  };
  for (const field of ["trainable_token_indices", "target_parameters"]) {
    const v = value(field);
    if (v !== undefined && !(Array.isArray(v) && v.length === 0)) fail(field, "empty: it is not read yet");
  }
  const layers = value("layers_to_transform");
  const isNumber = (n: unknown): n is number => typeof n === "number" && Number.isInteger(n);
  if (layers !== undefined && !isNumber(layers) && !(Array.isArray(layers) && layers.every(isNumber))) {
    fail("layers_to_transform", "an integer or a list of them");
  }
  const full = names("modules_to_save");
  if (typeof full === "string") fail("modules_to_save", "a list of strings");
  return {
    modulesToSave: full as readonly string[] | undefined,
    targets: names("target_modules") ?? fail("target_modules", "a string or a list of strings"),
    exclude: names("exclude_modules"),
    layersToTransform: layers as number | number[] | undefined,
    layersPattern: names("layers_pattern"),
    rankPattern: format?.ownRankPattern ? {} : numbers("rank_pattern"),
    alphaPattern: numbers("alpha_pattern"),
  };
}
