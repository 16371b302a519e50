import { gelu, geluTanh, relu, sigmoid, silu, tanh, type Tensor } from "@lowrank/tensor";
import type { ConfigReader } from "./config.js";

/** By the names that configurations use. */
const ACTIVATIONS: Readonly<Record<string, (x: Tensor) => Tensor>> = {
  gelu,
  gelu_fast: geluTanh,
  gelu_new: geluTanh,
  gelu_pytorch_tanh: geluTanh,
  quick_gelu: (x) => x.mul(sigmoid(x.mul(1.702))),
  relu,
  silu,
  swish: silu,
  tanh,
};

/** The name under `field`, refused if unknown. */
export function readActivation(read: ConfigReader, field: string, fallback: string): string {
  const name = read.text(field, fallback);
  return Object.hasOwn(ACTIVATIONS, name)
    ? name
    : read.fail(field, `one of ${Object.keys(ACTIVATIONS).join(", ")}`);
}

/** The function of a name that {@link readActivation} gave. */
export const activation = (name: string): ((x: Tensor) => Tensor) => ACTIVATIONS[name]!;
