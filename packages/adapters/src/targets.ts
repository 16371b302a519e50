import { type Adaptable, isAdaptable, isConvolution, type Module } from "@lowrank/nn";
import { ConfigError, type DType } from "@lowrank/tensor";
import { type Adapter, kindsOf, type Target } from "./adapter.js";
import { nearest } from "./nearest.js";
import { type Compile, compile as native, suffixMatch } from "./pattern.js";

/** Which layers to adapt, by the rules of PEFT's configuration. */
export interface TargetSelection {
  /**
   * A list of names, each a whole path or what a path ends with after a dot; a regular expression for the whole path; or
   * "all-linear", every linear layer but the output head.
   */
  targets: readonly string[] | string;
  /** Layers to leave out, by the same rules. */
  exclude?: readonly string[] | string;
  /** Numbers of the blocks to adapt, where targets are a list. Default: all. */
  layersToTransform?: number | readonly number[];
  /** Names that stand before a block's number, such as "layers". Default: any. */
  layersPattern?: string | readonly string[];
}

/** The layer at a path. */
export interface SelectedLayer {
  readonly path: string;
  readonly layer: Module & Adaptable;
}

const endsWith = (path: string, name: string): boolean => path === name || path.endsWith(`.${name}`);

const lastName = (path: string): string => path.slice(path.lastIndexOf(".") + 1);

function matcher(
  compile: Compile,
  where: string,
  wanted: readonly string[] | string,
): (path: string) => boolean {
  if (typeof wanted === "string") return compile(where, wanted);
  return (path) => wanted.some((name) => endsWith(path, name));
}

/** Whether the last block number in a path is one of those wanted. */
function inBlocks({ layersToTransform, layersPattern = [] }: TargetSelection, path: string): boolean {
  if (layersToTransform === undefined) return true;
  const numbers: readonly number[] =
    typeof layersToTransform === "number" ? [layersToTransform] : layersToTransform;
  const names: readonly string[] = typeof layersPattern === "string" ? [layersPattern] : layersPattern;
  const parts = path.split(".");
  for (let i = parts.length - 2; i > 0; i--) {
    if (!/^\d+$/.test(parts[i]!)) continue;
    if (names.length === 0 || names.includes(parts[i - 1]!)) return numbers.includes(Number(parts[i]));
  }
  return false;
}

export interface SelectOptions {
  /** What an error says it happened in. Default: "attach". */
  where?: string;
  /** Whether every name of a list has to match a layer. Default: true. */
  strict?: boolean;
  /** How regular expressions are read. Default: with the engine's own matcher. */
  compile?: Compile;
}

/**
 * The layers of a model that a selection names, in the model's order.
 *
 * @throws ConfigError with the nearest names if nothing matches, or if something matches that the adapter cannot sit on.
 */
export function selectLayers(
  model: Module,
  adapter: Adapter,
  selection: TargetSelection,
  { where = "attach", strict = true, compile = native }: SelectOptions = {},
): SelectedLayer[] {
  const { targets, exclude, layersToTransform } = selection;
  if (targets.length === 0) {
    throw new ConfigError({ where, expected: "targets to name layers", got: "an empty list or expression" });
  }
  if (layersToTransform !== undefined && typeof targets === "string") {
    throw new ConfigError({
      where,
      expected: "targets as a list beside layersToTransform",
      got: JSON.stringify(targets),
      hint: "put the block numbers into the expression",
    });
  }
  const kinds = kindsOf(adapter);
  const excluded = exclude === undefined ? () => false : matcher(compile, `${where}, exclude`, exclude);
  const modules = [...model.namedModules()].filter(([path]) => path !== "");
  const chosen: SelectedLayer[] = [];
  const unfit: string[] = [];
  const head = "outputHead" in model ? model.outputHead : undefined;
  const allLinear = targets === "all-linear";
  const wanted = allLinear ? () => false : matcher(compile, `${where}, targets`, targets);
  for (const [path, module] of modules) {
    if (excluded(path) || !inBlocks(selection, path)) continue;
    const fits = isAdaptable(module) && kinds.includes(module.kind);
    if (allLinear) {
      if (fits && module.kind === "linear" && path !== head) chosen.push({ path, layer: module });
    } else if (wanted(path)) {
      if (fits) chosen.push({ path, layer: module });
      else unfit.push(path);
    }
  }
  if (unfit.length > 0) {
    throw new ConfigError({
      where,
      expected: `targets that are layers of kind ${kinds.join(" or ")}, which ${adapter.name} can sit on`,
      got: unfit.slice(0, 4).join(", "),
    });
  }
  const fitting = modules.filter(([, m]) => isAdaptable(m) && kinds.includes(m.kind)).map(([path]) => path);
  if (chosen.length === 0) throw noMatch(where, typeof targets === "string" ? [targets] : targets, fitting);
  if (strict && typeof targets !== "string") {
    const idle = targets.filter((name) => !modules.some(([path]) => endsWith(path, name)));
    if (idle.length > 0) throw noMatch(where, idle, fitting);
  }
  return chosen;
}

function noMatch(where: string, wanted: readonly string[], paths: readonly string[]): ConfigError {
  const names = [...new Set(paths.map(lastName))].filter((name) => !/^\d+$/.test(name));
  const choices = names.length > 0 ? names : [...paths];
  const word = lastName(wanted[0]!);
  return new ConfigError({
    where,
    expected: "targets that match layers of the model",
    got: wanted.map((name) => JSON.stringify(name)).join(", "),
    hint:
      choices.length === 0
        ? "the model has no layer of a kind that this adapter can sit on"
        : `the nearest names in the model are ${nearest(word, choices)
            .map((name) => JSON.stringify(name))
            .join(", ")}`,
  });
}

/** What an adapter gets to know of a layer. */
export function targetOf({ path, layer }: SelectedLayer, dtype: DType): Target {
  const weightShape = layer.denseWeight().shape;
  const [first, second] = weightShape as [number, number];
  const [inFeatures, outFeatures] = layer.kind === "embedding" ? [first, second] : [second, first];
  const target: Target = { path, kind: layer.kind, inFeatures, outFeatures, weightShape, dtype };
  if (!isConvolution(layer)) return target;
  const { inChannels, kernelSize, groups } = layer;
  return { ...target, filter: { channels: inChannels / groups, kernel: kernelSize, groups } };
}

/**
 * The configuration for one layer: a copy in which each pattern that has a key matching the path sets its field. Keys are
 * regular expressions for the end of a path, the first that matches holds, as with PEFT's `rank_pattern`.
 */
export function configFor<C extends object>(
  config: C,
  patterns: Readonly<Record<string, Readonly<Record<string, unknown>>>>,
  path: string,
  compile: Compile = native,
): C {
  const copy = { ...config } as Record<string, unknown>;
  for (const [field, values] of Object.entries(patterns)) {
    for (const [expression, value] of Object.entries(values)) {
      if (!suffixMatch(compile, `attach, pattern of ${field}`, expression)(path)) continue;
      copy[field] = value;
      break;
    }
  }
  return copy as C;
}
