import type { Adaptable, Module } from "@lowrank/nn";
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
import { type RowAdapters, RowSelection, withSelection } from "./rows.js";
import { type AdapterStack, type Entry, foldAll, stackOn, weightOn } from "./stack.js";
import {
  configFor,
  type SelectedLayer,
  type SelectOptions,
  selectLayers,
  targetOf,
  type TargetSelection,
} from "./targets.js";

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
  /** Any other field of the configuration for some layers, by field. */
  patterns?: Readonly<Record<string, Readonly<Record<string, unknown>>>>;
}

export interface AdapterReport {
  /** Numbers that are trained in the whole model. */
  trainable: number;
  /** Numbers in the whole model, adapters included. */
  total: number;
  /** trainable / total, from 0 to 1. */
  share: number;
  /** This adapter's numbers per layer. */
  layers: { path: string; parameters: number }[];
}

/** What a model remembers of the adapters on it. */
interface Registry {
  readonly attached: Map<string, Attached>;
  /** Which of the model's own parameters could be trained before the first adapter came. */
  readonly wasTrainable: Map<Parameter, boolean>;
}

const registries = /* @__PURE__ */ new WeakMap<Module, Registry>();

function registryOf(model: Module): Registry {
  let registry = registries.get(model);
  if (registry === undefined) {
    registry = { attached: new Map(), wasTrainable: new Map() };
    registries.set(model, registry);
  }
  return registry;
}

/** One adapter on the layers of a model. Made by {@link attach}. */
export class Attached<M extends Module = Module> {
  /** Names under which rows of a batch may choose it: its own, or those of the adapters in a pool. */
  names: () => readonly string[] = () => [this.name];

  /** @internal */
  constructor(
    readonly model: M,
    readonly adapter: Adapter,
    readonly name: string,
    readonly config: object,
    /** How the layers were chosen. */
    readonly options: AttachOptions,
    /** @internal */
    readonly places: readonly { stack: AdapterStack; entry: Entry }[],
  ) {}

  /** Paths of the layers it sits on. */
  get layers(): string[] {
    return this.places.map(({ entry }) => entry.target.path);
  }

  /** Its parameters, by path in the model. */
  *parameters(): Generator<[path: string, parameter: Parameter]> {
    const own = new Set(this.places.flatMap(({ entry }) => Object.values(entry.params)));
    for (const [path, p] of this.model.parameters()) if (own.has(p)) yield [path, p];
  }

  get enabled(): boolean {
    return this.places.some(({ entry }) => entry.enabled);
  }

  /** Whether its layers run on merged weights. */
  get merged(): boolean {
    return this.places.some(({ stack }) => stack.merged);
  }

  /** Lets the adapter take part in the forward pass. */
  enable(on = true): this {
    this.expectOpen("enable");
    for (const { entry } of this.places) entry.enabled = on;
    return this;
  }

  /** Leaves the adapter out of the forward pass; it keeps its parameters. */
  disable(): this {
    return this.enable(false);
  }

  /** Sum of the adapter's terms for the loss, or null if it has none. */
  penalty(): Tensor | null {
    let sum: Tensor | null = null;
    for (const { entry } of this.places) {
      const term = entry.enabled
        ? entry.adapter.penalty?.(entry.params, entry.config, entry.target, this.places.length)
        : undefined;
      if (term !== undefined) sum = sum === null ? term : sum.add(term);
    }
    return sum;
  }

  /**
   * Computes the effective weights of its layers, every enabled adapter on them included, and runs the layers on those.
   * The frozen weights are kept, so `unmerge` gives them back bit for bit; parameters of adapters on these layers are not
   * trainable meanwhile.
   *
   * @param dtype Precision of the merged weights. Default: that of the adapter, so that nothing is lost.
   */
  async merge({ dtype }: { dtype?: DType } = {}): Promise<this> {
    await foldAll(
      this.places.map(({ stack }) => stack),
      dtype,
    );
    return this;
  }

  /** Undoes `merge`. */
  unmerge(): this {
    for (const { stack } of this.places) stack.unfold();
    return this;
  }

  /**
   * Puts the effective weights into the model and takes every adapter on its layers away: the result is an ordinary model.
   * A layer that shared its weight with another (a tied head) has one of its own afterwards, so that the other end keeps
   * computing what it did.
   *
   * @param dtype Precision of the merged weights. Default: that of the adapter.
   */
  async mergeAndUnload(options: { dtype?: DType } = {}): Promise<M> {
    await this.merge(options);
    const registry = registryOf(this.model);
    for (const { stack } of this.places) {
      const { weight: folded, bias } = stack.takeFolded()!;
      const weight = asStored(stack.layer, folded);
      weight.trainable = registry.wasTrainable.get(stack.layer.weight) ?? false;
      stack.layer.weight = weight;
      if (bias === null) continue;
      bias.trainable = registry.wasTrainable.get(stack.layer.bias!) ?? false;
      stack.layer.bias = bias;
    }
    const layers = new Set(this.places.map(({ stack }) => stack));
    for (const other of [...registry.attached.values()]) {
      // Another adapter on some of these layers is in their weights now and goes; elsewhere it has nothing to sit on.
      if (other.places.some(({ stack }) => layers.has(stack))) removeFrom(registry, other);
    }
    return this.model;
  }

  /** Takes the adapter off; the last one to go gives the model's parameters their `trainable` marks back. */
  detach(): M {
    this.expectOpen("detach");
    removeFrom(registryOf(this.model), this);
    return this.model;
  }

  /** How much is trained. */
  report(): AdapterReport {
    const layers = this.places.map(({ entry }) => ({
      path: entry.target.path,
      parameters: Object.values(entry.params).reduce((sum, p) => sum + p.size, 0),
    }));
    return { ...this.model.countParameters(), layers };
  }

  private expectOpen(act: string): void {
    if (!this.merged) return;
    throw new ConfigError({
      where: `${act} ${this.name}`,
      expected: "layers that are not merged",
      got: "merged ones",
      hint: "call unmerge() first",
    });
  }
}

/** A merged weight [out, in] as its layer keeps it. */
function asStored(layer: Adaptable, weight: Parameter): Parameter {
  return layer.asStored === undefined ? weight : parameter(layer.asStored(weight));
}

function removeFrom(registry: Registry, attached: Attached): void {
  for (const { stack, entry } of attached.places) {
    const at = stack.entries.indexOf(entry);
    if (at >= 0) stack.entries.splice(at, 1);
    if (stack.entries.length === 0) {
      stack.unfold();
      stack.layer._overlay = null;
    }
  }
  registry.attached.delete(attached.name);
  if (registry.attached.size > 0) return;
  for (const [p, trainable] of registry.wasTrainable) p.trainable = trainable;
  registry.wasTrainable.clear();
}

/** An adapter that is ready to be attached, with values still lazy; nothing of the model has changed. */
export interface AttachPlan {
  readonly name: string;
  readonly layers: readonly { selected: SelectedLayer; entry: Entry }[];
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
  const { where = "attach" } = select;
  const { name = "default", key = makeKey(0), dtype = "f32" } = options;
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
  const layers = selectLayers(model, adapter, options, select).map((selected) => {
    const target = targetOf(selected, dtype);
    const own = configFor(config, patterns, selected.path, select.compile);
    adapter.check?.(own, target);
    return { selected, target, config: own };
  });
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
  const attached = new Attached(model, adapter, plan.name, config, options, places);
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

/** The adapters on a model, in the order in which they came. */
export const attachedTo = (model: Module): Attached[] => [
  ...(registries.get(model)?.attached.values() ?? []),
];

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
  for (const attached of all) attached.enable(names.includes(attached.name));
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
