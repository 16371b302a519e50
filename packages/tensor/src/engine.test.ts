import { beforeEach, describe, expect, test } from "vitest";
import { gradients } from "./autograd.js";
import { compile } from "./compile.js";
import { setDefaultBackend } from "./default-backend.js";
import { evaluate } from "./evaluate.js";
import { mul } from "./ops/arithmetic.js";
import { full, iota, scalar, tensor, zeros } from "./ops/create.js";
import { exp, tanh } from "./ops/math.js";
import { matmul } from "./ops/matmul.js";
import { permute, reshape, slice } from "./ops/movement.js";
import { layerNorm } from "./ops/norm.js";
import { softmax } from "./ops/softmax.js";
import { parameter } from "./parameter.js";
import { reference } from "./reference/backend.js";
import { groupInterpreter } from "./testing/group-interpreter.js";
import type { Tensor } from "./tensor.js";
import { checkpoint, customVjp, grad, valueAndGrad } from "./transform.js";

const backends = { reference, "group interpreter": groupInterpreter };

for (const [name, make] of Object.entries(backends)) {
  describe(`engine on the ${name}`, () => {
    beforeEach(() => setDefaultBackend(make()));

    test("computes chains, views and broadcasts", async () => {
      const x = tensor([
        [1, 2, 3],
        [4, 5, 6],
      ]);
      const y = x.T.mul(10)
        .add(tensor([1, 2]))
        .slice([[null, null, -1], 1]);
      expect(await y.toArray()).toEqual([62, 52, 42]);
      expect(await x.sum(0).toArray()).toEqual([5, 7, 9]);
      expect(await x.reshape([3, 2]).T.mean(1).toArray()).toEqual([3, 4]);
      expect(await full([2, 2], 3).toArray()).toEqual([
        [3, 3],
        [3, 3],
      ]);
      expect(await iota([2, 2]).toArray()).toEqual([
        [0, 1],
        [2, 3],
      ]);
    });

    test("keeps what was asked for and computes the rest again", async () => {
      const x = tensor([1, 2, 3]);
      const h = x.mul(2);
      const y = h.add(1);
      await evaluate(y);
      expect(await h.toArray()).toEqual([2, 4, 6]);
      expect(await y.toArray()).toEqual([3, 5, 7]);
    });

    test("assigns in one plan, old values read before", async () => {
      const a = parameter(tensor([1, 2]));
      const b = parameter(tensor([10, 20]));
      const s = a.add(b);
      await evaluate(s, a.assign(b), b.assign(a));
      expect(await a.toArray()).toEqual([10, 20]);
      expect(await b.toArray()).toEqual([1, 2]);
      expect(await s.toArray()).toEqual([11, 22]);
      const late = a.mul(2);
      await evaluate(a.assign(a.add(1)));
      expect(await a.toArray()).toEqual([11, 21]);
      await expect(late.data()).rejects.toMatchObject({ code: "LOWRANK_STALE" });
      await evaluate(a.assign(reshape(permute(reshape(a, [2, 1]), [1, 0]), [2]).slice([[null, null, -1]])));
      expect(await a.toArray()).toEqual([21, 11]);
    });

    test("refuses two values for one parameter, and gradients through what was computed already", async () => {
      const p = parameter(tensor([1, 2]));
      await expect(evaluate(p.assign(p.add(1)), p.assign(p.add(2)))).rejects.toMatchObject({
        code: "LOWRANK_CONFIG",
      });
      const x = tensor([1, 2]);
      const y = x.square().sum();
      await y.item();
      expect(() => gradients(y, [x])).toThrow(/before reading values/);
    });

    test("differentiates, twice", async () => {
      const x = tensor([0.5, -1, 2]);
      const f = (t: Tensor) => mul(t, t).mul(t).sum();
      expect(await grad(f)(x).toArray()).toEqual([0.75, 3, 12]);
      const second = grad((t: Tensor) => grad(f)(t).sum());
      expect(await second(x).toArray()).toEqual([3, -6, 12]);
    });

    test("differentiates a small network like finite differences of it", async () => {
      const w = tensor(
        [
          [0.3, -0.2, 0.1],
          [0.4, 0.5, -0.6],
        ],
        { dtype: "f64" },
      );
      const x = tensor(
        [
          [1, 2],
          [3, -1],
        ],
        { dtype: "f64" },
      );
      const loss = (m: Tensor) => {
        const h = tanh(matmul(x, m));
        const [a, b] = [tensor([1, 1.5, 0.5], { dtype: "f64" }), zeros([3], { dtype: "f64" })];
        return softmax(layerNorm(h, a, b, { eps: 1e-5 }), -1)
          .slice([null, 0])
          .square()
          .sum();
      };
      const { grads } = valueAndGrad(loss)(w);
      const g = await grads[0]!.data();
      const base = await w.data();
      for (let i = 0; i < 6; i++) {
        const at = async (d: number) => {
          const moved = Float64Array.from(base);
          moved[i]! += d;
          return loss(tensor(moved, { shape: [2, 3], dtype: "f64" })).item();
        };
        const difference = ((await at(1e-5)) - (await at(-1e-5))) / 2e-5;
        expect(g[i]).toBeCloseTo(difference, 7);
      }
    });

    test("a checkpoint changes nothing but memory, captured parameters included", async () => {
      const w = parameter(
        tensor([
          [0.1, 0.2],
          [0.3, -0.4],
        ]),
      );
      const x = tensor([[1, 2]]);
      const block = (t: Tensor) => exp(tanh(matmul(t, w)).mul(w.slice([0])));
      const plain = block(block(x)).sum();
      const saved = checkpoint(block)(checkpoint(block)(x)).sum();
      const [a, b] = [gradients(plain, [w, x]), gradients(saved, [w, x])];
      await evaluate(plain, saved, ...a, ...b);
      expect(await saved.item()).toBeCloseTo(await plain.item(), 6);
      for (const i of [0, 1]) {
        const [u, v] = [await a[i]!.data(), await b[i]!.data()];
        for (const k of u.keys()) expect(v[k]).toBeCloseTo(u[k]!, 5);
      }
    });

    test("customVjp answers with the rule it was given", async () => {
      const f = customVjp(
        (t) => t.square(),
        ({ dys }) => [dys[0]!.mul(100)],
      );
      const x = tensor([1, 2]);
      expect(await gradients(f(x)[0]!.sum(), [x])[0]!.toArray()).toEqual([100, 100]);
    });

    test("compile traces once and replays with new values", async () => {
      let traces = 0;
      const total = parameter(scalar(0));
      const step = compile((x: Tensor, lr: Tensor) => {
        traces++;
        const y = x.mul(lr).sum();
        return { y, update: total.assign(total.add(y)) };
      });
      expect(await (await step(tensor([1, 2]), scalar(2))).y.item()).toBe(6);
      expect(await (await step(tensor([3, 4]), scalar(10))).y.item()).toBe(70);
      expect(await total.item()).toBe(76);
      expect(traces).toBe(1);
    });

    test("a plan is found again when only numbers differ", async () => {
      const p = parameter(tensor([1, 1]));
      for (let i = 0; i < 5; i++) await evaluate(p.assign(p.mul(i + 1).add(tensor([i, i]))));
      expect((await p.data())[0]).toBe(((((1 * 1 + 0) * 2 + 1) * 3 + 2) * 4 + 3) * 5 + 4);
    });

    test("a slice and a permuted reduction read the right elements", async () => {
      const x = iota([2, 3, 4], { dtype: "f32" });
      expect(await x.add(0).sum([0, 2]).toArray()).toEqual([60, 92, 124]);
      expect(await slice(x, [1, [0, 2], [1, 4, 2]]).toArray()).toEqual([
        [13, 15],
        [17, 19],
      ]);
    });
  });
}
