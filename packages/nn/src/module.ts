import { ConfigError, Parameter, parameter, type Tensor } from "@lowrank/tensor";
import { isAdaptable } from "./adaptable.js";
import { QuantizedWeight } from "./quantized-weight.js";
import { checkState } from "./state.js";

export interface ParameterCount {
  total: number;
  trainable: number;
  /** trainable / total, from 0 to 1. */
  share: number;
}

export interface ParameterOptions {
  /** Also the parameters of adapters that sit on the layers. Default true. */
  overlays?: boolean;
}

export interface LoadOptions {
  /** Every parameter needs a value and every value a parameter; shapes must fit always. Default true. */
  strict?: boolean;
  /**
   * "own": values are cast to the dtype of their parameter. "value": a parameter of another dtype is exchanged for one
   * of the value's; do this before an optimizer holds it. Default "own".
   */
  dtype?: "own" | "value";
}

/**
 * A part of a network. A field that holds a `Parameter` is a parameter, a field that holds a `Module` or an array of
 * modules is a child, and a path joins field names and array indices by dots: with the field names of a Hugging Face
 * model, paths are the names in its checkpoint (`model.layers.0.self_attn.q_proj.weight`). Fields that start with an
 * underscore are private and not looked at.
 *
 * A parameter that two fields share is one parameter; it goes by the path that comes first.
 */
export abstract class Module {
  /** Whether layers such as dropout act. Set it for a whole tree with `train()` and `eval()`. */
  training = true;

  /** Children by name, in the order of the fields. */
  *children(): Generator<[name: string, child: Module]> {
    for (const [name, value] of Object.entries(this)) {
      if (name.startsWith("_")) continue;
      if (value instanceof Module) yield [name, value];
      else if (Array.isArray(value)) {
        for (let i = 0; i < value.length; i++) {
          if (value[i] instanceof Module) yield [`${name}.${i}`, value[i]];
        }
      }
    }
  }

  /** This module (path "") and all below it, parents first. */
  *namedModules(path = ""): Generator<[path: string, module: Module]> {
    yield [path, this];
    for (const [name, child] of this.children()) yield* child.namedModules(join(path, name));
  }

  /** All parameters by path, each once. */
  *parameters({ overlays = true }: ParameterOptions = {}): Generator<[path: string, parameter: Parameter]> {
    const seen = new Set<Parameter>();
    for (const [path, module] of this.namedModules()) {
      for (const [name, value] of Object.entries(module)) {
        if (name.startsWith("_") || !(value instanceof Parameter) || seen.has(value)) continue;
        seen.add(value);
        yield [join(path, name), value];
      }
      if (!overlays || !isAdaptable(module)) continue;
      for (const [name, value] of module._overlay?.parameters() ?? []) {
        if (seen.has(value)) continue;
        seen.add(value);
        yield [join(path, name), value];
      }
    }
  }

  /** The parameters that an optimizer should change, those of adapters included. */
  *trainableParameters(): Generator<[path: string, parameter: Parameter]> {
    for (const entry of this.parameters()) if (entry[1].trainable) yield entry;
  }

  /** The module at a path. */
  at(path: string): Module {
    for (const [name, module] of this.namedModules()) if (name === path) return module;
    throw new ConfigError({ where: "at", expected: "the path of a module", got: JSON.stringify(path) });
  }

  /** Number of parameters, adapters included. */
  countParameters(): ParameterCount {
    let total = 0;
    let trainable = 0;
    for (const [, p] of this.parameters()) {
      total += p.size;
      if (p.trainable) trainable += p.size;
    }
    return { total, trainable, share: total === 0 ? 0 : trainable / total };
  }

  /** The module's own parameters by path: what a checkpoint of it holds. Adapters are saved by themselves. */
  state(): Map<string, Parameter> {
    return new Map(this.parameters({ overlays: false }));
  }

  /**
   * Gives parameters new values, by path. Nothing is changed if anything is wrong. A value in codes, and one for a
   * parameter in codes, takes the place of the parameter in all layers that share it.
   *
   * @throws ConfigError that lists what is missing, unexpected and of another shape.
   */
  loadState(values: ReadonlyMap<string, Tensor>, { strict = true, dtype = "own" }: LoadOptions = {}): void {
    const own = this.state();
    checkState("loadState", own, values, strict);
    for (const [path, value] of values) {
      if (value instanceof QuantizedWeight) this.expectHoldsCodes(path, own.get(path));
    }
    for (const [path, value] of values) {
      const old = own.get(path);
      if (old === undefined) continue;
      if (value instanceof QuantizedWeight) this.exchange(old, value);
      else if (!(old instanceof QuantizedWeight) && (dtype === "own" || old.dtype === value.dtype))
        old.replace(value);
      else this.exchange(old, parameter(value, { trainable: old.trainable, name: path }));
    }
  }

  /** Puts another parameter into every field that holds `old`. */
  private exchange(old: Parameter, by: Parameter): void {
    for (const [, module] of this.namedModules()) {
      for (const [name, value] of Object.entries(module)) {
        if (value === old) (module as unknown as Record<string, Parameter>)[name] = by;
      }
    }
  }

  /** Refuses codes for what is not the weight of a linear layer or an embedding. */
  private expectHoldsCodes(path: string, old: Parameter | undefined): void {
    for (const [, module] of this.namedModules()) {
      for (const [name, value] of Object.entries(module)) {
        if (value !== old || old === undefined) continue;
        if (name === "weight" && isAdaptable(module) && CODED_KINDS.includes(module.kind)) continue;
        throw new ConfigError({
          where: `loadState, ${path}`,
          expected: "numbers, as this is no weight of a linear layer or an embedding",
          got: "codes",
          hint: "give its dense()",
        });
      }
    }
  }

  /** Marks all parameters (adapters' too) as not trainable. */
  freeze(): this {
    for (const [, p] of this.parameters()) p.trainable = false;
    return this;
  }

  /** Marks the parameters whose path satisfies `match` (default: all) as trainable. Weights in codes stay frozen. */
  unfreeze(match: (path: string, parameter: Parameter) => boolean = () => true): this {
    for (const [path, p] of this.parameters()) if (match(path, p)) p.trainable = true;
    return this;
  }

  /** Training mode for the whole tree. */
  train(on = true): this {
    for (const [, module] of this.namedModules()) module.training = on;
    return this;
  }

  /** Evaluation mode for the whole tree. */
  eval(): this {
    return this.train(false);
  }
}

const join = (path: string, name: string): string => (path === "" ? name : `${path}.${name}`);

/** Kinds of layers whose weight can be in codes. */
const CODED_KINDS: readonly string[] = ["linear", "embedding"];
