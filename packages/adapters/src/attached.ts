import type { Adaptable, Module } from "@lowrank/nn";
import { ConfigError, type DType, type Parameter, parameter, type Tensor } from "@lowrank/tensor";
import type { Adapter } from "./adapter.js";
import type { AttachOptions } from "./attach.js";
import type { FullModules } from "./full-modules.js";
import { type AdapterStack, type Entry, foldAll } from "./stack.js";

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
export interface Registry {
  readonly attached: Map<string, Attached>;
  /** Which of the model's own parameters could be trained before the first adapter came. */
  readonly wasTrainable: Map<Parameter, boolean>;
}

const registries = /* @__PURE__ */ new WeakMap<Module, Registry>();

export function registryOf(model: Module): Registry {
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
    public config: object,
    /** How the layers were chosen. */
    public options: AttachOptions,
    /** @internal */
    readonly places: readonly { stack: AdapterStack; entry: Entry }[],
    /** @internal modules trained in full beside it */
    readonly full: FullModules,
  ) {}

  /** Paths of the layers it sits on. */
  get layers(): string[] {
    return this.places.map(({ entry }) => entry.target.path);
  }

  /** Its parameters, by path in the model. */
  *parameters(): Generator<[path: string, parameter: Parameter]> {
    const own = new Set(this.places.flatMap(({ entry }) => Object.values(entry.params)));
    for (const [path, p] of this.model.parameters()) if (own.has(p)) yield [path, p];
    yield* this.full.parameters();
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
    if (on) this.full.expectFree(`enable ${this.name}`);
    this.full.enable(on);
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
   * computing what it did. Modules trained in full stay in the model.
   *
   * @param dtype Precision of the merged weights. Default: that of the adapter.
   */
  async mergeAndUnload(options: { dtype?: DType } = {}): Promise<M> {
    await this.merge(options);
    const registry = registryOf(this.model);
    const kept = this.full.enabled;
    for (const { stack } of this.places) {
      const { weight: folded, bias } = stack.takeFolded()!;
      const weight = asStored(stack.layer, folded);
      weight.trainable = registry.wasTrainable.get(stack.layer.weight) ?? false;
      stack.layer.weight = weight;
      if (bias === null) continue;
      bias.trainable = registry.wasTrainable.get(stack.layer.bias!) ?? false;
      stack.layer.bias = bias;
    }
    for (const { own, original } of this.full.copies)
      own.trainable = registry.wasTrainable.get(original) ?? false;
    const layers = new Set(this.places.map(({ stack }) => stack));
    for (const other of [...registry.attached.values()]) {
      // Another adapter on some of these layers is in their weights now and goes; elsewhere it has nothing to sit on.
      if (other.places.some(({ stack }) => layers.has(stack))) removeFrom(registry, other);
    }
    if (kept) this.full.keep();
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
  attached.full.enable(false);
  registry.attached.delete(attached.name);
  if (registry.attached.size > 0) return;
  for (const [p, trainable] of registry.wasTrainable) p.trainable = trainable;
  registry.wasTrainable.clear();
}

/** The adapters on a model, in the order in which they came. */
export const attachedTo = (model: Module): Attached[] => [
  ...(registries.get(model)?.attached.values() ?? []),
];
