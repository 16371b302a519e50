import { gradients, key, normal, setDefaultBackend, silu, type Tensor } from "@lowrank/tensor";
import { reference } from "@lowrank/tensor/reference";
import { beforeAll, expect, test } from "vitest";
import { SwiGLU } from "./swiglu.js";

beforeAll(() => setDefaultBackend(reference()));

test("values, gradients and gradients of gradients are those of silu(W_gate x) ∘ W_up x", async () => {
  const layer = new SwiGLU(3, 5, { key: key(1), dtype: "f64" });
  const x = normal([4, 3], { key: key(2), dtype: "f64" });
  const plain = (t: Tensor): Tensor =>
    layer.down_proj.forward(silu(layer.gate_proj.forward(t)).mul(layer.up_proj.forward(t)));
  const wrt = [x, layer.gate_proj.weight, layer.up_proj.weight, layer.down_proj.weight];
  const all = [(t: Tensor) => layer.forward(t), plain].map((f) => {
    const y = f(x);
    const first = gradients(y.square().sum(), wrt).map((g) => g!);
    return [y, ...first, ...gradients(first[0]!.square().sum(), wrt).map((g) => g!)];
  });
  for (const [i, got] of all[0]!.entries()) {
    const [a, b] = [await got.data(), await all[1]![i]!.data()];
    for (const [j, value] of a.entries()) expect(value).toBeCloseTo(b[j]!, 12);
  }
});
