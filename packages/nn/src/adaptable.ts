import type { Parameter, Tensor } from "@lowrank/tensor";

/** What a layer does, for those that change its weight. */
export type LayerKind = "linear" | "embedding" | "conv1d" | "conv2d";

/**
 * What may sit on a layer and change what it computes while the layer's own parameters stay as they are: an adapter.
 */
export interface Overlay {
  /** The layer's result for `input`. */
  forward(input: Tensor, layer: Adaptable): Tensor;
  /** Parameters of its own, named from the layer's path on. */
  parameters(): Iterable<[name: string, parameter: Parameter]>;
}

/** A layer whose weight can be overlaid. */
export interface Adaptable {
  readonly kind: LayerKind;
  /**
   * The frozen weight: [out, in], for an embedding [entries, width], unless the layer stores it otherwise (`asStored`), as a
   * convolution does. May be a `QuantizedWeight`.
   */
  weight: Parameter;
  /** An adapter that is merged for good may put another in its place. */
  bias: Parameter | null;
  readonly training: boolean;
  /** The overlay, or null. */
  _overlay: Overlay | null;
  /**
   * The frozen weight in numbers, [out, in] however the layer stores it; of a convolution [out, in / groups · kernel], a row for
   * each filter. Of one in codes this is a lazy tensor: the whole matrix is made where a graph reads it, so what needs only a
   * product asks `withWeight(input, layer.weight)`.
   */
  denseWeight(): Tensor;
  /** What the layer computes with another weight in place of its own; with one in codes, from the codes. */
  withWeight(input: Tensor, weight: Tensor): Tensor;
  /** A weight [out, in] as this layer stores it, where that is otherwise. */
  asStored?(weight: Tensor): Tensor;
}

/** A convolution: its weight as a matrix has a row for each filter. */
export interface AdaptableConvolution extends Adaptable {
  readonly kind: "conv1d" | "conv2d";
  readonly inChannels: number;
  /** [k], or [kh, kw]. */
  readonly kernelSize: readonly number[];
  /** Into how many parts the channels are split that do not mix. */
  readonly groups: number;
  /** What the layer computes with other filters [rows, in / groups · kernel], in its steps and without its bias. */
  convolve(input: Tensor, filters: Tensor): Tensor;
}

/** Whether a layer is a convolution. */
export const isConvolution = (layer: Adaptable): layer is AdaptableConvolution => "convolve" in layer;

/** Whether a module can carry an overlay. */
export const isAdaptable = (module: object): module is Adaptable =>
  "withWeight" in module && "_overlay" in module;
