import {
  architectureOf,
  GGUF_ARCHITECTURES,
  type GgufValue,
  openCheckpoint,
  openFolder,
  openGguf,
  openSafetensors,
  readConfigJson,
  resolveModel,
} from "@lowrank/models";
import { ConfigError } from "@lowrank/tensor";
import { command, common } from "../command.js";
import { oneLine } from "../fault.js";
import { operand, path, toggle } from "../options.js";
import { occupied } from "../out-folder.js";
import { bytes, count, type Output } from "../output.js";

/** Tensors listed if not all are asked for. */
const SHOWN = 12;

export const infoCommand = /* @__PURE__ */ command({
  name: "info",
  summary: "tells what is in a model, an adapter, a safetensors or a GGUF file",
  about:
    "Reads headers and configuration only, whatever the size of the weights: tensors with their types and shapes, parameters, bytes, and the settings of the model or adapter.",
  options: {
    path: operand(path("Folder of a model, folder of an adapter, or a .safetensors or .gguf file.", "PATH")),
    tensors: toggle(`List all tensors, not only the first ${SHOWN}.`),
    ...common,
  },
  headings: { tensors: "Options" },
  examples: [
    ["what an adapter was trained on", "lowrank info runs/first/adapter"],
    ["every tensor of a model", "lowrank info models/base --tensors"],
  ],
  async run(settings, { output }) {
    const what = await open((await resolveModel(settings.path)).path);
    try {
      show(what, settings.path, settings.tensors, output);
    } finally {
      await what.archive.close();
    }
  },
});

/** What a file says of its tensors. */
interface Archive {
  readonly tensors: ReadonlyMap<
    string,
    {
      readonly name: string;
      readonly dtype: string;
      readonly shape: readonly number[];
      readonly sizeBytes: number;
    }
  >;
  readonly metadata: ReadonlyMap<string, string>;
  close(): Promise<void>;
}

interface Content {
  readonly kind: "model" | "adapter" | "safetensors" | "gguf";
  readonly archive: Archive;
  readonly config: Readonly<Record<string, unknown>> | null;
  /** Whether this version can run it. */
  readonly supported: boolean | null;
  /** What it is for, where that is known. */
  readonly task?: string | undefined;
}

async function openGgufFile(path: string): Promise<Content> {
  const file = await openGguf(path);
  const tensors = [...file.tensors.values()].map(
    ({ name, type, shape, sizeBytes }) => [name, { name, dtype: type, shape, sizeBytes }] as const,
  );
  const metadata = new Map([...file.metadata].map(([key, value]) => [key, shownValue(value)]));
  const archive = { tensors: new Map(tensors), metadata, close: () => file.close() };
  const known = GGUF_ARCHITECTURES.some(({ name }) => name === metadata.get("general.architecture"));
  return { kind: "gguf", archive, config: null, supported: known };
}

/** A value of the metadata; of a list how long it is. */
const shownValue = ({ type, value }: GgufValue): string =>
  type === "array" ? `a list of ${(value as ArrayLike<unknown>).length}` : String(value);

async function open(path: string): Promise<Content> {
  if (/\.gguf$/i.test(path)) return openGgufFile(path);
  if ((await occupied(path)) === "other") {
    return { kind: "safetensors", archive: await openSafetensors(path), config: null, supported: null };
  }
  const folder = await openFolder(path);
  const has = async (name: string): Promise<boolean> => {
    const source = await folder.open(name);
    await source?.close();
    return source !== undefined;
  };
  if (await has("adapter_config.json")) {
    const config = await readConfigJson(folder, "adapter_config.json");
    const source = await folder.open("adapter_model.safetensors");
    if (source === undefined) {
      throw new ConfigError({ where: path, expected: "adapter_model.safetensors", got: "no such file" });
    }
    const archive = await openSafetensors(source);
    return { kind: "adapter", archive, config, supported: config["peft_type"] === "LORA" };
  }
  if (!(await has("config.json"))) {
    throw new ConfigError({
      where: path,
      expected: "config.json of a model or adapter_config.json of an adapter",
      got: "neither",
      hint: "name the folder that holds it, or a .safetensors file",
    });
  }
  const config = await readConfigJson(folder);
  let task: string | undefined;
  try {
    task = architectureOf(config).task;
  } catch {
    // another architecture
  }
  const archive = await openCheckpoint(folder);
  return { kind: "model", archive, config, supported: task !== undefined, task };
}

/** What to tell of a configuration, by kind. */
const FIELDS = {
  model: {
    architectures: "architecture",
    hidden_size: "width",
    n_embd: "width",
    n_layer: "layers",
    n_head: "heads",
    n_positions: "positions",
    num_hidden_layers: "layers",
    num_attention_heads: "heads",
    num_key_value_heads: "key/value heads",
    intermediate_size: "feed-forward width",
    vocab_size: "vocabulary",
    max_position_embeddings: "positions",
    sliding_window: "sliding window",
    tie_word_embeddings: "tied head",
    image_size: "image size",
    patch_size: "patch size",
    id2label: "labels",
  },
  adapter: {
    peft_type: "method",
    r: "rank",
    lora_alpha: "alpha",
    lora_dropout: "dropout",
    use_rslora: "rsLoRA",
    target_modules: "targets",
    base_model_name_or_path: "base model",
  },
  safetensors: {},
  gguf: {},
};

const plain = (value: unknown): string => {
  if (typeof value === "object" && value !== null && !Array.isArray(value))
    return plain(Object.values(value));
  if (Array.isArray(value)) {
    const names = value.slice(0, 8).map(plain).join(", ");
    return value.length > 8 ? `${names}, ... (${value.length})` : names;
  }
  return oneLine(typeof value === "string" ? value : (JSON.stringify(value) ?? "nothing"));
};

function show(
  { kind, archive, config, supported, task }: Content,
  path: string,
  all: boolean,
  output: Output,
): void {
  const tensors = [...archive.tensors.values()];
  const size = (shape: readonly number[]): number => shape.reduce((a, b) => a * b, 1);
  const parameters = tensors.reduce((sum, t) => sum + size(t.shape), 0);
  const sizeBytes = tensors.reduce((sum, t) => sum + t.sizeBytes, 0);
  const dtypes = new Map<string, number>();
  for (const t of tensors) dtypes.set(t.dtype, (dtypes.get(t.dtype) ?? 0) + size(t.shape));
  const metadata = Object.fromEntries(archive.metadata);
  output.record({
    type: "info",
    kind,
    path,
    supported,
    ...(task !== undefined && { task }),
    parameters,
    sizeBytes,
    dtypes: Object.fromEntries(dtypes),
    config,
    metadata,
    tensors: tensors.map(({ name, dtype, shape }) => ({ name, dtype, shape })),
  });
  const rows: [string, string][] = [
    ["kind", supported === false ? `${kind}, which this version cannot run` : kind],
  ];
  if (task !== undefined) rows.push(["task", task]);
  for (const [field, label] of Object.entries(FIELDS[kind])) {
    if (config?.[field] !== undefined && config[field] !== null) rows.push([label, plain(config[field])]);
  }
  rows.push(["parameters", count(parameters)], ["size", bytes(sizeBytes)]);
  rows.push(["types", [...dtypes].map(([name, n]) => `${name} ${count(n)}`).join(", ")]);
  for (const [name, value] of Object.entries(metadata))
    rows.push([`metadata ${oneLine(name)}`, plain(value)]);
  rows.push(["tensors", count(tensors.length)]);
  output.table(rows);
  output.text();
  const listed = all ? tensors : tensors.slice(0, SHOWN);
  const width = Math.max(0, ...listed.map((t) => oneLine(t.name).length));
  for (const t of listed)
    output.text(`  ${oneLine(t.name).padEnd(width)}  ${t.dtype.padEnd(4)}  [${t.shape.join(", ")}]`);
  if (listed.length < tensors.length)
    output.text(`  and ${tensors.length - listed.length} more (--tensors lists all)`);
}
