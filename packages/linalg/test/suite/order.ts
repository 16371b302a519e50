import { type Backend, norm, type Tensor } from "@lowrank/tensor";
import { numbers } from "./expect-close.js";

/** The order with which ‖f(t)‖ vanishes: it is 2^order times smaller at half the t. */
export async function orderOf(backend: Backend, f: (t: number) => Tensor, t = 1e-2): Promise<number> {
  const [[a], [b]] = (await numbers(backend, () => [norm(f(t)), norm(f(t / 2))])) as [[number], [number]];
  return Math.log2(a / b);
}
