import { singularValues } from "@lowrank/linalg";
import { Linear, Sequential, valueAndGrad } from "@lowrank/nn";
import { AdamW, SGD } from "@lowrank/optim";
import { concat, eye, key, matmul, normal, setDefaultBackend, type Tensor } from "@lowrank/tensor";
import { beforeAll, describe, expect, test } from "vitest";
import { testBackend } from "../test/backend.js";
import { close, read, targetOf } from "../test/layers.js";
import type { Target } from "./adapter.js";
import { attach } from "./attach.js";
import { lora, type LoraConfig, type LoraParams } from "./lora.js";
import { loraFa } from "./lora-fa.js";
import { loraPlusGroups } from "./lora-plus.js";
import { olora, pissa, type ResidualLoraParams } from "./residual-lora.js";
import { contractChecks } from "./testing.js";

beforeAll(async () => setDefaultBackend(await testBackend()));

const config = { rank: 3, alpha: 6 };
/** r (in + out) */
const count = ({ inFeatures, outFeatures }: Target): number => 3 * (inFeatures + outFeatures);
for (const check of [
  ...contractChecks(pissa, config, { count }),
  ...contractChecks(olora, config, { count }),
  ...contractChecks(loraFa, config, { count: ({ outFeatures }) => 3 * outFeatures }),
])
  test(check.name, check.run);

const W = normal([6, 9], { key: key(1) });
const target = targetOf("linear", 9, 6);
const start = (adapter: typeof pissa): ResidualLoraParams =>
  adapter.init(target, config, key(2), () => W) as ResidualLoraParams;

describe("pissa", () => {
  test("the frozen weight is relieved of its leading singular values, and keeps the others", async () => {
    const { A0, B0 } = start(pissa);
    const values = await read(singularValues(W));
    const rest = await read(singularValues(W.sub(matmul(B0, A0).mul(2))));
    close(rest, [...values.slice(3), 0, 0, 0], 1e-5);
  });

  test("the factors share the singular values evenly", async () => {
    const { A, B } = start(pissa);
    close(await read(matmul(A, A.T)), await read(matmul(B.T, B)), 1e-5);
  });

  test("it is the LoRA of twice the rank [B | B₀] [A; −A₀] on the weight as it was", async () => {
    for (const adapter of [pissa, olora]) {
      const { A0, B0 } = start(adapter);
      const [A, B] = [normal([3, 9], { key: key(3) }), normal([6, 3], { key: key(4) })];
      const double = { A: concat([A, A0.neg()], 0), B: concat([B, B0], 1) };
      close(
        await read(adapter.merge(W, { A, B, A0, B0 }, config, target)),
        await read(lora.merge(W, double, { rank: 6, alpha: 12 }, target)),
        1e-5,
      );
    }
  });
});

describe("an orthogonal start", () => {
  for (const check of contractChecks(
    { ...lora, kinds: ["linear"] },
    { rank: 4, init: "orthogonal" },
    { count: ({ inFeatures, outFeatures }) => 4 * (inFeatures + outFeatures) },
  ))
    test(check.name, check.run);

  test("has a product of zero from factors that are not", async () => {
    const { A, B } = lora.init(target, { rank: 4, init: "orthogonal" }, key(2), () => W) as LoraParams;
    close(await read(matmul(B, A)), new Array<number>(54).fill(0), 1e-6);
    expect(Math.max(...(await read(A.abs())), 0)).toBeGreaterThan(0.05);
    expect(Math.max(...(await read(B.abs())), 0)).toBeGreaterThan(0.05);
  });

  test("needs an even rank", () => {
    const model = new Sequential(new Linear(9, 6));
    expect(() => attach(model, lora, { rank: 3, init: "orthogonal" }, { targets: ["0"] })).toThrow(
      /rank modulo 2/,
    );
  });
});

test("olora starts with orthonormal columns", async () => {
  const { B } = start(olora);
  close(await read(matmul(B.T, B)), await read(eye(3)), 1e-5);
});

describe("training", () => {
  const x = normal([5, 9], { key: key(5) });
  const y = normal([5, 6], { key: key(6) });

  /** Parameters of an adapter after a few steps. */
  async function trained(
    adapter: typeof lora,
    groups = loraPlusGroups({ ratio: 1 }),
  ): Promise<Map<string, number[]>> {
    const model = new Sequential(new Linear(9, 6, { key: key(7) }));
    const adapted = attach(model, adapter, { rank: 2 } satisfies LoraConfig, { targets: ["0"], key: key(8) });
    const step = valueAndGrad(model, () => model.forward(x).sub(y).square().mean());
    const optimizer = new AdamW(model.trainableParameters(), { lr: 0.01, groups });
    for (let i = 0; i < 3; i++) await optimizer.step(step().grads);
    const values = new Map<string, number[]>();
    for (const [path, p] of adapted.parameters()) values.set(path, await read(p));
    return values;
  }

  test("LoRA+ with a ratio of 1 is LoRA step for step, and with 16 it is not", async () => {
    expect(await trained(lora)).toEqual(await trained(lora, []));
    expect(await trained(lora, loraPlusGroups())).not.toEqual(await trained(lora, []));
  });

  test("a first step of SGD moves B by the ratio times as much", async () => {
    const moved = async (groups: ReturnType<typeof loraPlusGroups>): Promise<number[]> => {
      const model = new Sequential(new Linear(9, 6, { key: key(7) }));
      const adapted = attach(model, lora, { rank: 2 }, { targets: ["0"], key: key(8) });
      const { grads } = valueAndGrad(model, () => model.forward(x).sub(y).square().mean())();
      await new SGD(model.trainableParameters(), { lr: 0.01, groups }).step(grads);
      return read([...adapted.parameters()].find(([path]) => path.includes("lora_B"))![1] as Tensor);
    };
    const one = await moved([]);
    close(
      await moved(loraPlusGroups()),
      one.map((b) => 16 * b),
      1e-5,
    );
  });

  test("LoRA-FA leaves A bit for bit and moves B", async () => {
    const before = attach(
      new Sequential(new Linear(9, 6)),
      loraFa,
      { rank: 2 },
      { targets: ["0"], key: key(8) },
    );
    const after = await trained(loraFa);
    for (const [path, p] of before.parameters()) {
      if (path.includes("lora_A")) expect(after.get(path)).toEqual(await read(p));
      else expect(after.get(path)).not.toEqual(await read(p));
    }
  });
});
