import {
  type Adaptable,
  dropWith,
  forwardContext,
  isConvolution,
  type Module,
  type Overlay,
} from "@lowrank/nn";
import {
  ConfigError,
  type DType,
  evaluate,
  matmul,
  ne,
  type Parameter,
  parameter,
  take,
  type Tensor,
  where as choose,
} from "@lowrank/tensor";
import { type Adapter, type AdapterPass, type Target, tensorName } from "./adapter.js";
import { type RowSelection, selectionIn } from "./rows.js";

/** One adapter on one layer. */
export interface Entry {
  /** Name of the adapter in the model. */
  readonly name: string;
  /** The model that it was attached to. */
  readonly model: Module;
  readonly adapter: Adapter;
  readonly target: Target;
  config: object;
  readonly params: Readonly<Record<string, Parameter>>;
  enabled: boolean;
}

/** A layer up to some adapter. */
interface Below {
  forward(x: Tensor): Tensor;
  weight(): Tensor;
  bias(): Tensor | null;
}

/** What a layer runs on while it is merged; no bias stands for the layer's own. */
interface Folded {
  readonly weight: Parameter;
  readonly bias: Parameter | null;
}

/**
 * The adapters on one layer, each on top of those before: the second sees the layer as the first has made it. Merging
 * keeps the effective weight beside the frozen one, which is never written, so that undoing it is exact.
 */
export class AdapterStack implements Overlay {
  readonly entries: Entry[] = [];
  private folded: Folded | null = null;
  /** Parameters that were trainable before the layer was merged. */
  private readonly resting = new Set<Parameter>();

  constructor(readonly layer: Adaptable) {}

  get merged(): boolean {
    return this.folded !== null;
  }

  *parameters(): Generator<[string, Parameter]> {
    for (const { name, adapter, target, params } of this.entries) {
      for (const [key, p] of Object.entries(params)) {
        yield [withAdapterName(tensorName(adapter, target.kind, key), name), p];
      }
    }
  }

  forward(input: Tensor, layer: Adaptable): Tensor {
    const selection = this.selection();
    if (selection !== undefined) return this.forwardRows(input, layer, selection);
    if (this.folded !== null)
      return withBias(layer, input, this.folded.weight, this.folded.bias ?? layer.bias);
    let below = bare(layer);
    for (const entry of this.entries) if (entry.enabled) below = on(entry, layer, below);
    return below.forward(input);
  }

  /** The choice of adapters by row in the pass under way, if there is one for a model that put an adapter here. */
  private selection(): RowSelection | undefined {
    const { extras } = forwardContext();
    if (extras.size === 0) return undefined;
    for (const { model } of this.entries) {
      const selection = selectionIn(extras, model);
      if (selection !== undefined) return selection;
    }
    return undefined;
  }

  /**
   * y_b = base(x_b) + Σ w_ib (adapter_i(x_b) − base(x_b)): each adapter sees the frozen layer. A row with one adapter of
   * weight 1 gets that adapter's result itself. What another model has put on the layer counts for all rows.
   */
  private forwardRows(input: Tensor, layer: Adaptable, selection: RowSelection): Tensor {
    if (this.folded !== null) {
      throw new ConfigError({
        where: "withRows",
        expected: "layers that are not merged",
        got: `a merged one, ${this.entries[0]!.target.path}`,
        hint: "call unmerge() first",
      });
    }
    const base = once((x) => layer.withWeight(x, layer.weight));
    let y = base(input);
    for (const entry of this.entries) {
      const { model, adapter, enabled } = entry;
      if (adapter.rowAware || (model !== selection.model && enabled)) {
        const below = y;
        y = apply(entry, input, layer, {
          ...bare(layer),
          forward: (x) => (x === input ? below : base(x)),
        });
      }
      if (adapter.rowAware || model !== selection.model) continue;
      const weights = selection.weights(entry.name);
      if (weights === null) continue;
      selection.expectRows(entry.target, input);
      const own = apply(entry, input, layer, { ...bare(layer), forward: base });
      const w = weights.reshape([-1, ...new Array<number>(own.ndim - 1).fill(1)]);
      y = selection.exclusive ? choose(ne(w, 0), own, y) : y.add(own.sub(base(input)).mul(w));
    }
    return y;
  }

  /** Weight and bias with all enabled adapters in them; no bias stands for the layer's own. */
  effective(): { weight: Tensor; bias: Tensor | null } {
    let below = bare(this.layer);
    for (const entry of this.entries) if (entry.enabled) below = on(entry, this.layer, below);
    const bias = below.bias();
    return { weight: below.weight(), bias: bias === this.layer.bias ? null : bias };
  }

  /** Takes computed weight and bias for the forward pass; the adapters' parameters rest meanwhile. */
  fold(folded: Folded): void {
    this.folded = folded;
    for (const { params } of this.entries) {
      for (const p of Object.values(params)) {
        if (p.trainable) this.resting.add(p);
        p.trainable = false;
      }
    }
  }

  /** Goes back to frozen weight and adapters. */
  unfold(): void {
    this.folded?.weight.dispose();
    this.folded?.bias?.dispose();
    this.folded = null;
    for (const p of this.resting) p.trainable = true;
    this.resting.clear();
  }

  /** The folded weight and bias, handed over: the stack forgets them. */
  takeFolded(): Folded | null {
    const folded = this.folded;
    this.folded = null;
    return folded;
  }
}

/** A layer without adapters. */
const bare = (layer: Adaptable): Below => ({
  forward: (x) => layer.withWeight(x, layer.weight),
  weight: () => layer.denseWeight(),
  bias: () => layer.bias,
});

/** A layer with one adapter on top of what is below it. */
const on = (entry: Entry, layer: Adaptable, below: Below): Below => ({
  forward: (x) => apply(entry, x, layer, below),
  weight: () => mergedWeight(entry, below),
  bias: () => mergedBias(entry, below),
});

const mergedWeight = ({ adapter, params, config, target }: Entry, below: Below): Tensor =>
  adapter.merge(widened(below.weight(), target.dtype), params, config, target);

function mergedBias({ adapter, params, config, target }: Entry, below: Below): Tensor | null {
  const bias = below.bias();
  return bias === null || adapter.mergeBias === undefined
    ? bias
    : adapter.mergeBias(widened(bias, target.dtype), params, config, target);
}

/** The result of a layer with one adapter on top of what is below it. */
function apply(entry: Entry, x: Tensor, layer: Adaptable, below: Below): Tensor {
  const { adapter, params, config } = entry;
  return adapter.forward === undefined
    ? withBias(layer, x, mergedWeight(entry, below), mergedBias(entry, below))
    : adapter.forward(x, below.forward, params, config, passOf(entry, layer, below));
}

/** The layer with another weight and bias in place of its own. */
function withBias(layer: Adaptable, x: Tensor, weight: Tensor, bias: Tensor | null): Tensor {
  const y = layer.withWeight(x, weight);
  if (bias === layer.bias) return y;
  const difference = widened(bias!.sub(widened(layer.bias!, bias!.dtype)), y.dtype);
  return y.add(
    isConvolution(layer) ? difference.reshape([-1, ...layer.kernelSize.map(() => 1)]) : difference,
  );
}

/** `f` that computes for the same input in a row once. */
function once(f: (x: Tensor) => Tensor): (x: Tensor) => Tensor {
  let last: { x: Tensor; y: Tensor } | null = null;
  return (x) => (last?.x === x ? last : (last = { x, y: f(x) })).y;
}

/** What a layer computes with A [rows, in] in place of its weight, without its bias. */
function project(layer: Adaptable, x: Tensor, A: Tensor): Tensor {
  if (isConvolution(layer)) return layer.convolve(x, A);
  return layer.kind === "embedding" ? take(A.T, x, 0) : matmul(x, A.T);
}

function passOf({ name, target }: Entry, layer: Adaptable, below: Below): AdapterPass {
  const { key, extras } = forwardContext();
  const { training } = layer;
  return {
    target,
    training,
    weight: () => widened(below.weight(), target.dtype),
    bias: below.bias,
    project: (x, A) => project(layer, x, A),
    withWeight: (x, weight) => withBias(layer, x, weight, below.bias()),
    extras,
    dropout: (x, p) =>
      training && p > 0
        ? dropWith(`adapter ${name} on ${target.path}`, x, p, key?.foldName(`${target.path}/${name}`) ?? null)
        : x,
  };
}

/** A weight in another dtype: adapters see 16-bit storage widened to the dtype they work in. */
export const widened = (weight: Tensor, dtype: DType): Tensor =>
  weight.dtype === dtype ? weight : weight.astype(dtype);

/** `lora_A.weight` of adapter `default` is the parameter `lora_A.default.weight`. */
function withAdapterName(tensor: string, name: string): string {
  const dot = tensor.indexOf(".");
  return dot < 0 ? `${tensor}.${name}` : `${tensor.slice(0, dot)}.${name}${tensor.slice(dot)}`;
}

/** Computes the effective weights of several layers, all in one plan, and takes them. */
export async function foldAll(stacks: readonly AdapterStack[], dtype: DType | undefined): Promise<void> {
  const open = stacks.filter((s) => !s.merged);
  const kept = (t: Tensor): Parameter =>
    parameter(dtype === undefined ? t : widened(t, dtype), { trainable: false });
  const all = open.map((stack): Folded => {
    const { weight, bias } = stack.effective();
    return { weight: kept(weight), bias: bias === null ? null : kept(bias) };
  });
  await evaluate(...all.flatMap(({ weight, bias }) => (bias === null ? [weight] : [weight, bias])));
  for (const [i, stack] of open.entries()) stack.fold(all[i]!);
}

/** The weight of a layer with the adapters that are on it, as the next one will see it. */
export function weightOn(layer: Adaptable, dtype: DType): Tensor {
  const overlay = layer._overlay;
  return widened(overlay instanceof AdapterStack ? overlay.effective().weight : layer.denseWeight(), dtype);
}

/** The stack on a layer, made if there is none. */
export function stackOn(path: string, layer: Adaptable): AdapterStack {
  if (layer._overlay === null) layer._overlay = new AdapterStack(layer);
  if (layer._overlay instanceof AdapterStack) return layer._overlay;
  throw new ConfigError({
    where: "attach",
    expected: `${path} to be free or to carry adapters`,
    got: "another overlay",
  });
}
