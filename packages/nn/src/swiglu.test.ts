import { gradients, key, normal, setDefaultBackend, silu, type Tensor, tensor } from "@lowrank/tensor";
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

test("gradients of halves are computed in f32 and rounded once", async () => {
  const layer = new SwiGLU(1, 1, { key: key(1), dtype: "bf16" });
  for (const { weight } of [layer.gate_proj, layer.up_proj, layer.down_proj])
    weight.replace(tensor([[1]], { dtype: "f32" }).astype("bf16"));
  // Where the slope of x · silu(x) is small beside its terms.
  const x = tensor([[-1.28125]]).astype("bf16");
  const [g] = gradients(layer.forward(x).sum(), [layer.up_proj.weight, layer.gate_proj.weight]).slice(1);
  const s = 1 / (1 + Math.exp(1.28125));
  const want = 1.28125 ** 2 * s * (1 - 1.28125 * (1 - s));
  expect(g!.dtype).toBe("bf16");
  expect(await g!.item()).toBeCloseTo(want, 4);
});
