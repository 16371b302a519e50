import { type ByteInput, type GgufEntry, type GgufFile, openGguf } from "@lowrank/models";
import type { Module } from "@lowrank/nn";
import { ConfigError, tensor, type Tensor } from "@lowrank/tensor";
import type { Adapter } from "./adapter.js";
import { type Attached, type AttachOptions, carryOut, planAttach } from "./attach.js";
import { type GgufBase, ggufBase, layerOfGgufName, pairRows, transposed } from "./gguf-lora-names.js";
import { lora } from "./lora.js";
import type { PeftContent } from "./peft.js";
import type { Entry } from "./stack.js";

export interface LoadGgufLoraOptions {
  /** Name of the adapter in the model. Default "default". */
  name?: string;
  /** Whether to go on training it. Default false. */
  trainable?: boolean;
}

interface Pair {
  readonly path: string;
  readonly a: GgufEntry;
  readonly b: GgufEntry;
  readonly rank: number;
}

/** Reads a GGUF file with a LoRA adapter for a model, which is not changed; throws as {@link loadGgufLora}. */
export async function readGgufLora(
  model: Module,
  input: ByteInput,
  { name = "default" }: LoadGgufLoraOptions = {},
): Promise<PeftContent> {
  const file = await openGguf(input);
  try {
    const base = ggufBase(model, file.name);
    expectText(file, "general.type", "adapter");
    expectText(file, "adapter.type", "lora");
    expectText(file, "general.architecture", base.architecture);
    const pairs = pairsOf(file);
    const { options, config } = frameOf(file, pairs, name);
    const adapter = lora as unknown as Adapter;
    const plan = planAttach(model, adapter, config, options, { where: file.name });
    const byPath = new Map(pairs.map((pair) => [pair.path, pair]));
    const values = new Map<Entry, Record<string, Tensor>>();
    const read = plan.layers.map(({ entry }) => ({ entry, pair: byPath.get(entry.target.path)! }));
    for (const { entry, pair } of read) expectShapes(file, entry, pair);
    for (const { entry, pair } of read) values.set(entry, await valuesOf(entry, pair, base));
    return { adapter, config, options, plan, values, full: new Map() };
  } finally {
    await file.close();
  }
}

/**
 * Puts the LoRA adapter of a GGUF file, as llama.cpp has it, onto a model. The model is changed only after everything has been
 * checked. `adapter.lora.alpha` of 0 stands for a scale of 1, as it does there.
 *
 * @throws FormatError for a damaged file; ConfigError for a file that is no adapter, one for another architecture, and tensors
 * that do not fit the layers of the model.
 *
 * @example
 * ```ts
 * const model = await fromPretrained("model.gguf");
 * const adapted = await loadGgufLora(model, "adapter.gguf");
 * ```
 */
export async function loadGgufLora<M extends Module>(
  model: M,
  input: ByteInput,
  options: LoadGgufLoraOptions = {},
): Promise<Attached<M>> {
  const { adapter, config, options: chosen, plan, values } = await readGgufLora(model, input, options);
  for (const [{ params }, own] of values) {
    for (const [field, value] of Object.entries(own)) params[field]!.replace(value);
  }
  const attached = carryOut(model, plan, adapter, config, chosen);
  if (!options.trainable) for (const [, p] of attached.parameters()) p.trainable = false;
  return attached;
}

function refuse(where: string, expected: string, got: string, hint?: string): never {
  throw new ConfigError({ where, expected, got, ...(hint === undefined ? {} : { hint }) });
}

function expectText({ name, metadata }: GgufFile, key: string, wanted: string): void {
  const value = metadata.get(key)?.value;
  if (value === wanted) return;
  const got = typeof value === "string" ? JSON.stringify(value.slice(0, 80)) : "none";
  refuse(name, `${key} to be ${JSON.stringify(wanted)}`, got, "give an adapter for this model");
}

/** The layers of a file, each with both its tensors. */
function pairsOf({ name: where, tensors }: GgufFile): Pair[] {
  const pairs: Pair[] = [];
  for (const [name, a] of tensors) {
    const [, layer, part] = /^(.*)\.lora_([ab])$/.exec(name) ?? [];
    const path = layer === undefined ? undefined : layerOfGgufName(layer);
    if (path === undefined)
      refuse(
        where,
        "tensors NAME.weight.lora_a and .lora_b of known layers",
        JSON.stringify(name.slice(0, 80)),
      );
    const other = tensors.get(`${layer}.lora_${part === "a" ? "b" : "a"}`);
    if (other === undefined) refuse(where, `both lora_a and lora_b of ${layer}`, `lora_${part} alone`);
    if (part !== "a") continue;
    for (const { shape } of [a, other]) {
      if (shape.length !== 2) refuse(where, `matrices for ${layer}`, `[${shape.join(", ")}]`);
    }
    pairs.push({ path, a, b: other, rank: other.shape[1]! });
  }
  if (pairs.length === 0) refuse(where, "tensors of an adapter", "none");
  return pairs;
}

/** Which layers, ranks and alpha a file stands for. */
function frameOf(
  { name: where, metadata }: GgufFile,
  pairs: readonly Pair[],
  name: string,
): { options: AttachOptions; config: object } {
  const alpha = metadata.get("adapter.lora.alpha")?.value;
  if (typeof alpha !== "number" || !Number.isFinite(alpha))
    refuse(
      where,
      "adapter.lora.alpha to be a number",
      alpha === undefined ? "none" : String(alpha).slice(0, 80),
    );
  const { rank } = pairs[0]!;
  const others = pairs.filter((pair) => pair.rank !== rank);
  return {
    options: {
      name,
      targets: pairs.map(({ path }) => path),
      ...(others.length > 0 && { rankPattern: Object.fromEntries(others.map((p) => [p.path, p.rank])) }),
    },
    config: { rank, ...(alpha !== 0 && { alpha }) }, // without alpha the scale is 1
  };
}

function expectShapes({ name: where }: GgufFile, { target, params }: Entry, { a, b, path }: Pair): void {
  const [rank] = params["A"]!.shape as [number];
  const wantedA = target.kind === "embedding" ? [target.inFeatures, rank] : [rank, target.inFeatures];
  const wantedB = [target.outFeatures, rank];
  if (a.shape.join() === wantedA.join() && b.shape.join() === wantedB.join()) return;
  refuse(
    where,
    `tensors [${wantedA.join(", ")}] and [${wantedB.join(", ")}] for ${path}`,
    `[${a.shape.join(", ")}] and [${b.shape.join(", ")}]`,
    "the adapter is for another base",
  );
}

async function valuesOf(
  { target }: Entry,
  { a, b, rank }: Pair,
  base: GgufBase,
): Promise<Record<string, Tensor>> {
  const { inFeatures, outFeatures, kind, path } = target;
  const [down, up] = [await a.array(), await b.array()];
  const heads = base.headsOf(path);
  const A = kind === "embedding" ? transposed(down, inFeatures) : down;
  const B = heads > 0 ? pairRows(up, outFeatures, heads, true) : up;
  return { A: tensor(A, { shape: [rank, inFeatures] }), B: tensor(B, { shape: [outFeatures, rank] }) };
}
