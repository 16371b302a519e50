import type { Module } from "@lowrank/nn";
import {
  ConfigError,
  type DType,
  type Key,
  key as makeKey,
  type Parameter,
  parameter,
  type Tensor,
} from "@lowrank/tensor";
import type { Adapter } from "./adapter.js";
import { Attached, attachedTo, registryOf } from "./attached.js";
import { FullModules, isWithin } from "./full-modules.js";
import { type RowAdapters, RowSelection, withSelection } from "./rows.js";
import { type Entry, stackOn, weightOn } from "./stack.js";
import {
  configFor,
  type SelectedLayer,
  type SelectOptions,
  selectLayers,
  targetOf,
  type TargetSelection,
} from "./targets.js";

export { type AdapterReport, Attached, attachedTo } from "./attached.js";

export interface AttachOptions extends TargetSelection {
  /** Name of the adapter in the model. Default "default". */
  name?: string;
  /** For the random start; each layer draws from its own branch of it. Default `key(0)`. */
  key?: Key;
  /** Precision of the adapter's parameters. Default f32. */
  dtype?: DType;
  /** Ranks for some layers: keys are regular expressions for the end of a path. */
  rankPattern?: Readonly<Record<string, number>>;
  /** Alphas for some layers. */
  alphaPattern?: Readonly<Record<string, number>>;
  /**
   * Modules to train in full beside the adapter, such as a new head, each by what its path ends with (PEFT's rule: "norm"
   * names "input_layernorm" too). A copy of their parameters is trained and saved with the adapter; no adapter goes onto
   * layers in them. Default: none.
   */
  modulesToSave?: readonly string[];
  /** Any other field of the configuration for some layers, by field. */
  patterns?: Readonly<Record<string, Readonly<Record<string, unknown>>>>;
}

/** An adapter that is ready to be attached, with values still lazy; nothing of the model has changed. */
export interface AttachPlan {
  readonly name: string;
  readonly layers: readonly { selected: SelectedLayer; entry: Entry }[];
  readonly full: FullModules;
}

/** Refuses a name that an adapter on the model or in a pool there has. */
export function expectFreeName(
  model: Module,
  where: string,
  name: string,
  others: readonly string[] = [],
): void {
  const taken = attachedTo(model).some((a) => a.name === name || a.names().includes(name));
  if (!taken && !others.includes(name)) return;
  throw new ConfigError({
    where,
    expected: "a name that no adapter on the model has",
    got: JSON.stringify(name),
    hint: "give another name, or detach() the other first",
  });
}

/** Chooses layers, checks the configuration for each and makes the parameters. */
export function planAttach(
  model: Module,
  adapter: Adapter,
  config: object,
  options: AttachOptions,
  select: SelectOptions = {},
): AttachPlan {
  const { where = "attach", strict = true } = select;
  const { name = "default", key = makeKey(0), dtype = "f32", modulesToSave = [] } = options;
  if (!/^[A-Za-z0-9_-]+$/.test(name)) {
    throw new ConfigError({
      where,
      expected: "a name of letters, digits, _ and -",
      got: JSON.stringify(name),
    });
  }
  expectFreeName(model, where, name);
  const patterns: Record<string, Readonly<Record<string, unknown>>> = { ...options.patterns };
  if (options.rankPattern) patterns["rank"] = options.rankPattern;
  if (options.alphaPattern) patterns["alpha"] = options.alphaPattern;
  const layers = selectLayers(model, adapter, options, select)
    .filter(({ path }) => !isWithin(path, modulesToSave))
    .map((selected) => {
      const target = targetOf(selected, dtype);
      const own = configFor(config, patterns, selected.path, select.compile);
      adapter.check?.(own, target);
      return { selected, target, config: own };
    });
  if (layers.length === 0) {
    throw new ConfigError({
      where,
      expected: "a layer for the adapter outside of modulesToSave",
      got: "none",
    });
  }
  const made = (values: object, path: string): Record<string, Parameter> =>
    Object.fromEntries(
      Object.entries(values).map(([field, value]) => [
        field,
        parameter(value as Tensor, {
          trainable: !adapter.frozen?.includes(field),
          name: `${path}${adapter.name}.${field}`,
        }),
      ]),
    );
  const targets = layers.map(({ target }) => target);
  const shared = made(adapter.shared?.(targets, config, key) ?? {}, "");
  return {
    name,
    full: FullModules.of(model, modulesToSave, { where, strict, dtype }),
    layers: layers.map(({ selected, target, config: own }) => {
      const weight = (): Tensor => weightOn(selected.layer, dtype);
      const values = adapter.init(target, own, key.foldName(target.path), weight);
      const params = { ...made(values, `${target.path}.`), ...shared };
      return { selected, entry: { name, model, adapter, target, config: own, params, enabled: true } };
    }),
  };
}

/** Puts a planned adapter onto the model and freezes everything else of the model. */
export function carryOut<M extends Module>(
  model: M,
  plan: AttachPlan,
  adapter: Adapter,
  config: object,
  options: AttachOptions,
): Attached<M> {
  plan.full.expectFree("attach");
  const stacks = plan.layers.map(({ selected: { path, layer } }) => stackOn(path, layer));
  if (stacks.some((stack) => stack.merged)) {
    throw new ConfigError({
      where: "attach",
      expected: "layers that are not merged",
      got: "merged ones",
      hint: "call unmerge() on the adapters there first",
    });
  }
  const registry = registryOf(model);
  if (registry.attached.size === 0) {
    for (const [, p] of model.parameters({ overlays: false })) {
      registry.wasTrainable.set(p, p.trainable);
      p.trainable = false;
    }
  }
  const places = plan.layers.map(({ entry }, i) => {
    stacks[i]!.entries.push(entry);
    return { stack: stacks[i]!, entry };
  });
  const attached = new Attached(model, adapter, plan.name, config, options, places, plan.full);
  plan.full.enable();
  registry.attached.set(plan.name, attached);
  return attached;
}

/**
 * Puts an adapter onto layers of a model. The model's own parameters are frozen and never written; the adapter's are what
 * `model.trainableParameters()` then gives, under the path of their layer. Several adapters may sit on one layer, each on
 * top of those before.
 *
 * @example
 * ```ts
 * const adapted = attach(model, lora, { rank: 8, alpha: 16 }, { targets: ["q_proj", "v_proj"] });
 * ```
 * @throws ConfigError if no layer matches (with the nearest names), a setting is out of range, or the name is taken.
 * @category Contract
 */
export function attach<M extends Module, C extends object, P extends object>(
  model: M,
  adapter: Adapter<C, P>,
  config: C,
  options: AttachOptions,
): Attached<M> {
  const erased = adapter as unknown as Adapter;
  return carryOut(model, planAttach(model, erased, config, options), erased, config, options);
}

/**
 * Enables the named adapters on a model and disables all others; no name leaves the bare model.
 *
 * @throws ConfigError for a name that the model does not have.
 */
export function activate(model: Module, names: readonly string[]): void {
  const all = attachedTo(model);
  for (const name of names) {
    if (all.some((a) => a.name === name)) continue;
    throw new ConfigError({
      where: "activate",
      expected: `one of ${all.map((a) => JSON.stringify(a.name)).join(", ") || "no adapters"}`,
      got: JSON.stringify(name),
    });
  }
  const chosen = all.filter((a) => names.includes(a.name));
  for (const attached of all) if (!chosen.includes(attached)) attached.disable();
  for (const attached of chosen) attached.enable();
}

/**
 * Runs `f` so that each row of the batch has its own adapters, whatever is enabled on the model: null is the bare model, a
 * name that adapter, an object of names several with a weight each,
 *
 *     y_b = base(x_b) + Σ_i w_ib · (adapter_i(x_b) − base(x_b))
 *
 * in every layer that they sit on. The choice belongs to the pass that `f` builds and to nothing else. For any kind of adapter each
 * that is named costs its own forward pass over the whole batch, and each set of names has a plan; LoRA adapters in an
 * {@link adapterPool} cost one together, with one plan for all choices.
 *
 * @example
 * ```ts
 * const logits = withRows(model, ["formal", null, { formal: 0.5, terse: 0.5 }], () => model.forward(ids)); // ids [3, T]
 * ```
 * @throws ConfigError for a name that the model does not have, or a merged layer; ShapeError if the batch has another
 * number of rows.
 * @category Contract
 */
export function withRows<T>(model: Module, rows: readonly RowAdapters[], f: () => T): T {
  const selection = new RowSelection(model, rows);
  const whole = attachedTo(model).find(
    ({ name, full }) =>
      full.copies.length > 0 && (full.enabled || selection.rows.some((row) => row.has(name))),
  );
  if (whole !== undefined) {
    throw new ConfigError({
      where: "withRows",
      expected: "adapters without modules that are trained in full, as those act on the whole batch",
      got: `${JSON.stringify(whole.name)}, which has ${whole.full.copies[0]!.path}`,
      hint: "disable() it and leave it out of the rows, or run its rows by themselves",
    });
  }
  const known = new Set(attachedTo(model).flatMap((a) => a.names()));
  for (const row of selection.rows) {
    for (const name of row.keys()) {
      if (known.has(name)) continue;
      throw new ConfigError({
        where: "withRows",
        expected: `one of ${[...known].map((n) => JSON.stringify(n)).join(", ") || "no adapters"}`,
        got: JSON.stringify(name),
      });
    }
  }
  return withSelection(selection, f);
}
