import type { Tensor } from "@lowrank/tensor";
import { Module } from "./module.js";

/** A module that takes one tensor to one tensor. */
export type Layer = Module & { forward(x: Tensor): Tensor };

/** Layers and plain functions in a row; parameter paths start with the place in the row, as in PyTorch (`0.weight`). */
export class Sequential extends Module {
  private readonly _layers: readonly (Layer | ((x: Tensor) => Tensor))[];

  constructor(...layers: (Layer | ((x: Tensor) => Tensor))[]) {
    super();
    this._layers = layers;
  }

  override *children(): Generator<[string, Module]> {
    for (let i = 0; i < this._layers.length; i++) {
      const layer = this._layers[i]!;
      if (layer instanceof Module) yield [String(i), layer];
    }
  }

  forward(x: Tensor): Tensor {
    let y = x;
    for (const layer of this._layers) y = typeof layer === "function" ? layer(y) : layer.forward(y);
    return y;
  }
}
