import type { LayerKind } from "@lowrank/nn";
import type { DType, Key, Tensor } from "@lowrank/tensor";

/**
 * The layer that an adapter sits on. The weight of a convolution is a matrix to adapters, with a row for each filter: what is
 * said of W [out, in] holds for it with `in` = channels / groups · kernel.
 */
export interface Target {
  /** Path of the layer in its model. */
  readonly path: string;
  readonly kind: LayerKind;
  /** Width of the input; the number of entries for an embedding, of weights in a filter for a convolution. */
  readonly inFeatures: number;
  /** Width of the result; channels of a convolution's. */
  readonly outFeatures: number;
  /** Shape of the weight: [out, in], for an embedding [in, out]. */
  readonly weightShape: readonly number[];
  /** What makes up `inFeatures` of a convolution: input channels that a filter sees, [k] or [kh, kw]; and the groups. */
  readonly filter?: {
    readonly channels: number;
    readonly kernel: readonly number[];
    readonly groups: number;
  };
  /** The dtype that trained parameters have. */
  readonly dtype: DType;
}

/** What a forward pass tells an adapter. */
export interface AdapterPass {
  readonly target: Target;
  /** Whether the layer is in training mode. */
  readonly training: boolean;
  /** The frozen weight below this adapter, widened to the target's dtype. */
  weight(): Tensor;
  /** The bias that `base` adds, or null. */
  bias(): Tensor | null;
  /**
   * What the layer computes with A [rows, in] in place of its weight and no bias: x Aᵀ, the convolution with these filters, or
   * rows of Aᵀ for an embedding.
   */
  project(x: Tensor, A: Tensor): Tensor;
  /** What the layer computes with another weight [out, in] in place of its own: what a forward pass can fall back to. */
  withWeight(x: Tensor, weight: Tensor): Tensor;
  /** Dropout in training mode, else the identity; the key comes from the pass, the layer's path and the adapter's name. */
  dropout(x: Tensor, p: number): Tensor;
  /** Facts for the layers of this pass, from `withContext`. */
  readonly extras: ReadonlyMap<string, unknown>;
}

/** Δ = scale · B A, what an adapter adds to a weight as [out, in] by two thin factors. */
export interface LowRankUpdate {
  /** [rank, in]. */
  readonly A: Tensor;
  /** [out, rank]. */
  readonly B: Tensor;
  readonly scale: number;
}

/** How an adapter's configuration and tensors stand in a folder of PEFT's form. */
export interface AdapterFormat<C> {
  /** `peft_type`. */
  readonly peftType: string;
  /** File name of each parameter, per kind of layer: `{ linear: { A: "lora_A.weight" } }`. Convolutions default to linear. */
  readonly tensors: Partial<Record<LayerKind, Readonly<Record<string, string>>>>;
  /** File name of each parameter that the layers share, from the start. */
  readonly shared?: Readonly<Record<string, string>>;
  /** Whether `rank_pattern` is the method's own field, and not ranks by layer. */
  readonly ownRankPattern?: boolean;
  /** Whether a configuration of this `peft_type` is for this adapter, where several adapters share the type. */
  matches?(json: Readonly<Record<string, unknown>>): boolean;
  /** The fields of `adapter_config.json` that belong to the method. */
  toJson(config: C): Record<string, unknown>;
  /** The configuration in such fields. Throws ConfigError for one that is not supported. */
  fromJson(json: Readonly<Record<string, unknown>>): C;
}

/**
 * A way to adapt a layer: everything that is the method's own. Freezing the base, several adapters at once, merging and
 * undoing it, saving, loading and counting are the same for all and not written here.
 */
export interface Adapter<C extends object = object, P extends object = object> {
  readonly name: string;
  /** Kinds of layers that it can sit on. Default: linear. */
  readonly kinds?: readonly LayerKind[];
  /** Refuses a configuration for a layer: called once per layer before anything is made. */
  check?(config: C, target: Target): void;
  /** Values that the adapter's parameters start with. `weight` gives the effective weight that it will sit on. */
  init(target: Target, config: C, key: Key, weight: () => Tensor): Partial<P>;
  /** Parameters that all layers share, beside those that each has from `init`. */
  shared?(targets: readonly Target[], config: C, key: Key): Partial<P>;
  /** Names of parameters that are not trained. */
  readonly frozen?: readonly string[];
  /** Names of frozen parameters that follow from the weight: `init` finds them again, files do not have them. */
  readonly derived?: readonly string[];
  /** The definition: the effective weight, of the shape of the frozen one. */
  merge(weight: Tensor, params: P, config: C, target: Target): Tensor;
  /** The effective bias of a layer that has one. Default: the bias as it is. */
  mergeBias?(bias: Tensor, params: P, config: C, target: Target): Tensor;
  /** What it adds to the weight, for a method that adds two thin factors whatever the weight is: for compositions. */
  factors?(params: P, config: C, target: Target): LowRankUpdate;
  /**
   * A cheaper way to the result of the layer with the effective weight. `base` gives the result without this adapter.
   * Default: the layer with `merge(weight, ...)`.
   */
  forward?(x: Tensor, base: (x: Tensor) => Tensor, params: P, config: C, pass: AdapterPass): Tensor;
  /** A term for the loss, if this configuration has one; those of all layers, `layers` of them, are summed. */
  penalty?(params: P, config: C, target: Target, layers?: number): Tensor | undefined;
  /** Whether `forward` itself reads which adapters act on which row of the batch. Default: the contract mixes the rows. */
  readonly rowAware?: boolean;
  /** Why a fresh adapter changes the layer, for a configuration with which it does. Else a fresh adapter is the identity. */
  startsElsewhere?(config: C): string | undefined;
  /** Why no fixed weight does what the adapter does, for a configuration with which that is so: `merge` then refuses. */
  staysApart?(config: C): string | undefined;
  /** Relative error of that identity, where rounding keeps it from being one bit for bit. Default 0. */
  startsWithin?(config: C): number;
  /** Default: `peft_type` is the name in capitals, tensors are `name_parameter`, the configuration is stored as it is. */
  readonly format?: AdapterFormat<C>;
}

/**
 * Defines an adapter. The definition is the value: nothing is registered.
 *
 * @example
 * ```ts
 * // y = (1 + g) ∘ W x: one trained factor per output
 * const gain = defineAdapter<object, { g: Tensor }>({
 *   name: "gain",
 *   init: ({ outFeatures, dtype }) => ({ g: zeros([outFeatures, 1], { dtype }) }),
 *   merge: (W, { g }) => W.mul(g.add(1)),
 * });
 * ```
 * @category Contract
 */
export function defineAdapter<C extends object, P extends object>(definition: Adapter<C, P>): Adapter<C, P> {
  return definition;
}

/** The kinds of layers that an adapter can sit on. */
export const kindsOf = (adapter: Adapter): readonly LayerKind[] => adapter.kinds ?? ["linear"];

/** File name of a parameter, from the layer's path on. */
export function tensorName({ format, name }: Adapter, kind: LayerKind, parameter: string): string {
  const names = format?.tensors[kind] ?? (kind === "embedding" ? undefined : format?.tensors.linear);
  return names?.[parameter] ?? `${name}_${parameter}`;
}

/** `peft_type` of an adapter. */
export const peftTypeOf = (adapter: Adapter): string =>
  adapter.format?.peftType ?? adapter.name.toUpperCase();
