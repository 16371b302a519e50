import { type Module, QuantizedWeight } from "@lowrank/nn";
import { ConfigError, type DType, Parameter, parameter, type Tensor } from "@lowrank/tensor";
import { nearest } from "./nearest.js";

/** A parameter of a module that is trained in full, and the copy that stands in for it. */
interface Copy {
  readonly path: string;
  readonly module: Module;
  readonly field: string;
  readonly original: Parameter;
  readonly own: Parameter;
}

/** The model's own parameter that each copy stands in for. */
const originals = /* @__PURE__ */ new WeakMap<Parameter, Parameter>();

/**
 * Modules that are trained in full beside an adapter, as a new head is. What is trained is a copy of their parameters, which
 * stands in the modules' fields while the adapter is enabled; the model's own parameters are kept as they are.
 */
export class FullModules {
  private on = false;

  private constructor(readonly copies: readonly Copy[]) {}

  /**
   * The modules whose path ends with one of the names, which is PEFT's rule ("norm" is "input_layernorm" too), with what is
   * below them.
   *
   * @param strict Whether each name has to match a module.
   * @param dtype Precision of the copies.
   * @throws ConfigError with the nearest names if one matches nothing, and for weights in codes.
   */
  static of(
    model: Module,
    names: readonly string[],
    { where, strict, dtype }: { where: string; strict: boolean; dtype: DType },
  ): FullModules {
    const modules = [...model.namedModules()].filter(([path]) => path !== "");
    if (strict)
      expectAll(
        where,
        names,
        modules.map(([path]) => path),
      );
    const copies: Copy[] = [];
    for (const [path, module] of modules) {
      if (!isWithin(path, names)) continue;
      for (const [field, value] of Object.entries(module)) {
        if (field.startsWith("_") || !(value instanceof Parameter)) continue;
        const original = originals.get(value) ?? value;
        const at = `${path}.${field}`;
        if (original instanceof QuantizedWeight) {
          throw new ConfigError({
            where,
            expected: `${at} to be of numbers, as it is to be trained in full`,
            got: "codes",
            hint: "load the model with its weights widened",
          });
        }
        const own = parameter(original.dtype === dtype ? original.mul(1) : original.astype(dtype), {
          name: at,
        });
        originals.set(own, original);
        copies.push({ path: at, module, field, original, own });
      }
    }
    return new FullModules(copies);
  }

  get enabled(): boolean {
    return this.on;
  }

  /** The copies by the path of their parameter. */
  parameters(): [path: string, parameter: Parameter][] {
    return this.copies.map(({ path, own }) => [path, own]);
  }

  /** Refuses what another adapter's copy stands in for. */
  expectFree(where: string): void {
    if (this.on) return;
    const taken = this.copies.find(({ module, field, original }) => fieldsOf(module)[field] !== original);
    if (taken === undefined) return;
    throw new ConfigError({
      where,
      expected: `${taken.path} to be the model's own`,
      got: "one that an enabled adapter trains in full",
      hint: "disable() that adapter first",
    });
  }

  /** Lets the copies stand in, or the model's own parameters again. */
  enable(on = true): void {
    this.on = on;
    for (const { module, field, original, own } of this.copies) fieldsOf(module)[field] = on ? own : original;
  }

  /** Makes the copies the model's own. */
  keep(): void {
    this.enable();
    for (const { own } of this.copies) originals.delete(own);
  }

  /** Gives the copies values, by path. */
  load(values: ReadonlyMap<string, Tensor>): void {
    for (const [path, own] of this.parameters()) own.replace(values.get(path)!);
  }
}

const fieldsOf = (module: Module): Record<string, unknown> => module as unknown as Record<string, unknown>;

/** Whether a path is that of a named module or of one below it: as with PEFT, the path of the former ends with the name. */
export function isWithin(path: string, names: readonly string[]): boolean {
  const parts = path.split(".");
  return parts.some((_, i) => isNamed(parts.slice(0, i + 1).join("."), names));
}

const isNamed = (path: string, names: readonly string[]): boolean =>
  names.some((name) => path.endsWith(name));

function expectAll(where: string, names: readonly string[], paths: readonly string[]): void {
  const idle = names.filter((name) => !paths.some((path) => isNamed(path, [name])));
  if (idle.length === 0) return;
  const choices = [...new Set(paths.map((path) => path.slice(path.lastIndexOf(".") + 1)))];
  throw new ConfigError({
    where,
    expected: "modulesToSave to name modules of the model",
    got: idle.map((name) => JSON.stringify(name)).join(", "),
    hint: `the nearest names in the model are ${nearest(idle[0]!, choices)
      .map((name) => JSON.stringify(name))
      .join(", ")}`,
  });
}
