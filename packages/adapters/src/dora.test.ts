import { Linear, Sequential, valueAndGrad, withContext } from "@lowrank/nn";
import { evaluate, eye, key, matmul, normal, setDefaultBackend, type Tensor } from "@lowrank/tensor";
import { beforeAll, describe, expect, test } from "vitest";
import { testBackend } from "../test/backend.js";
import { close, randomised, read, targetOf } from "../test/layers.js";
import type { Adapter, Target } from "./adapter.js";
import { attach } from "./attach.js";
import { directionNorm, dora, type DoraConfig, type DoraParams } from "./dora.js";
import { lora } from "./lora.js";
import { loadPeft, peftFiles } from "./peft.js";
import { contractChecks } from "./testing.js";

beforeAll(async () => setDefaultBackend(await testBackend()));

/** r (in + out) + out */
const count = ({ inFeatures, outFeatures }: Target, { rank }: DoraConfig): number =>
  rank * (inFeatures + outFeatures) + outFeatures;

const exact = { rank: 4, alpha: 6, normGradient: "exact" } as const;
for (const check of contractChecks(dora, exact, { count })) test(check.name, check.run);
for (const check of contractChecks(dora, { rank: 2, useRslora: true }, { count })) {
  // A detached norm is no gradient of anything: what it is stands in a test below.
  if (!check.name.includes("central differences")) test(`detached norm: ${check.name}`, check.run);
}

const W = normal([6, 9], { key: key(1) });
const target = targetOf("linear", 9, 6);
const params: DoraParams = {
  A: normal([2, 9], { key: key(2) }),
  B: normal([6, 2], { key: key(3) }),
  m: normal([6], { key: key(4) }),
};
const config: DoraConfig = { rank: 2, alpha: 3 };
const V = W.add(matmul(params.B, params.A).mul(1.5));
const rowNorms = (M: Tensor): Tensor => M.square().sum(-1).sqrt();

describe("dora", () => {
  test("the norm that stores no [out, in] matrix is the norm of W + s B A", async () => {
    close(await read(directionNorm(W, params, 1.5)), await read(rowNorms(V)), 1e-5);
  });

  test("every neuron of the merged weight has length |m|", async () => {
    close(await read(rowNorms(dora.merge(W, params, config, target))), await read(params.m.abs()), 1e-5);
  });

  test("twice the direction is the same direction", async () => {
    const twice = { ...params, B: params.B.mul(2) };
    const once = await read(dora.merge(W, params, config, target));
    close(await read(dora.merge(W.mul(2), twice, config, target)), once, 1e-5);
  });

  test("with m held at the norm it is LoRA", async () => {
    const held = { ...params, m: rowNorms(V) };
    close(
      await read(dora.merge(W, held, config, target)),
      await read(lora.merge(W, params, config, target)),
      1e-5,
    );
  });

  test("a fresh adapter whose parameters were computed before leaves the layer bit for bit", async () => {
    const model = new Sequential(new Linear(40, 24, { key: key(5) })).eval() as Sequential;
    const x = normal([7, 40], { key: key(6) });
    const before = await read(model.forward(x));
    const adapted = attach(model, dora, config, { targets: ["0"] });
    await evaluate(...[...adapted.parameters()].map(([, p]) => p));
    expect(await read(model.forward(x))).toEqual(before);
  });

  test("exact gradients of V are orthogonal to V, detached ones are (m / ‖V‖) dW'", async () => {
    // With A = I and s = 1, V = W + B and the gradient of B is that of V.
    const square = { A: eye(4), B: normal([5, 4], { key: key(7) }), m: normal([5], { key: key(8) }) };
    const layer = new Linear(4, 5, { key: key(9), bias: false });
    const model = new Sequential(layer).eval() as Sequential;
    const x = normal([3, 4], { key: key(10) });
    const dy = normal([3, 5], { key: key(11) });
    const V = layer.weight.add(square.B);
    const unit = V.div(rowNorms(V).reshape([5, 1]));
    for (const normGradient of ["exact", "detached"] as const) {
      const adapted = attach(model, dora, { rank: 4, normGradient }, { targets: ["0"], name: normGradient });
      for (const [path, p] of adapted.parameters())
        p.replace(path.includes("A") ? square.A : path.includes("B") ? square.B : square.m);
      const { grads } = valueAndGrad(model, () => model.forward(x).mul(dy).sum())();
      const dB = [...grads].find(([path]) => path.includes("lora_B"))![1];
      if (normGradient === "exact") {
        close(await read(dB.mul(unit).sum(-1)), [0, 0, 0, 0, 0], 1e-5);
      } else {
        close(
          await read(dB),
          await read(matmul(dy.T, x).mul(square.m.div(rowNorms(V)).reshape([5, 1]))),
          1e-5,
        );
      }
      adapted.detach();
    }
  });

  test("two on one layer merge to exactly what they compute apart", async () => {
    const model = new Sequential(new Linear(10, 7, { key: key(1) })).eval() as Sequential;
    const x = normal([3, 10], { key: key(2) });
    for (const name of ["a", "b"]) {
      await randomised(attach(model, dora, { rank: 2 }, { targets: ["0"], name }), name === "a" ? 20 : 21);
    }
    const apart = await read(model.forward(x));
    const adapted = attach(model, lora, { rank: 1 }, { targets: ["0"], name: "idle" });
    await adapted.merge();
    close(await read(model.forward(x)), apart, 1e-5);
  });

  test("dropout is of the input of the update only: the frozen product stays whole", async () => {
    const model = new Sequential(new Linear(12, 8, { key: key(1) }));
    const x = normal([4, 12], { key: key(2) });
    const adapted = attach(model, dora, { rank: 2, dropout: 0.5 }, { targets: ["0"] });
    // A fresh adapter has g = 1 and B = 0: nothing of what is dropped is seen.
    const trained = await read(withContext({ key: key(3) }, () => model.forward(x)));
    expect(trained).toEqual(await read(adapted.disable().model.forward(x)));
    await randomised(adapted.enable(), 22);
    const [a, b] = [3, 4].map((seed) => withContext({ key: key(seed) }, () => model.forward(x)));
    expect(await read(a!)).not.toEqual(await read(b!));
  });

  test("a file with use_dora is read by dora beside lora, and one without by lora", async () => {
    const model = new Sequential(new Linear(5, 4, { key: key(1) }));
    const both = [lora, dora] as unknown as Adapter[];
    const own = { rank: 2, normGradient: "exact" } as const;
    for (const adapted of [
      attach(model, lora, { rank: 2 }, { targets: ["0"], name: "a" }),
      attach(model, dora, own, { targets: ["0"], name: "b" }),
    ]) {
      const loaded = await loadPeft(model, await peftFiles(adapted), { adapters: both });
      expect(loaded.adapter).toBe(adapted.adapter);
      if (adapted.name === "b") expect(loaded.config).toMatchObject(own);
      loaded.detach();
    }
  });

  test("refuses a word for the gradient that it does not know", () => {
    const model = new Sequential(new Linear(5, 4));
    const wrong = { rank: 1, normGradient: "none" } as unknown as DoraConfig;
    expect(() => attach(model, dora, wrong, { targets: ["0"] })).toThrow(
      /normGradient to be one of "detached", "exact", got "none"/,
    );
  });

  test("a 4096 to 4096 layer at rank 16 trains 135,168 numbers", () => {
    expect(count(targetOf("linear", 4096, 4096), { rank: 16 })).toBe(135_168);
  });
});
