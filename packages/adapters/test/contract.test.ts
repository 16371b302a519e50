import { type Adapter, attach, defineAdapter, lora } from "@lowrank/adapters";
import { contractChecks } from "@lowrank/adapters/testing";
import { Linear, Sequential } from "@lowrank/nn";
import { ConfigError, evaluate, key, normal, setDefaultBackend, type Tensor, zeros } from "@lowrank/tensor";
import { beforeAll, describe, expect, test } from "vitest";
import { testBackend } from "./backend.js";

beforeAll(async () => setDefaultBackend(await testBackend()));

/** An adapter as a user would write it: one trained factor per output, and no forward of its own. */
const gain = defineAdapter<{ scale?: number }, { g: Tensor }>({
  name: "gain",
  init: ({ outFeatures, dtype }) => ({ g: zeros([outFeatures, 1], { dtype }) }),
  merge: (W, { g }, { scale = 1 }) => W.mul(g.mul(scale).add(1)),
  penalty: ({ g }) => g.square().sum(),
});

describe("an adapter of a user's own", () => {
  for (const check of contractChecks(gain, { scale: 0.5 }, { count: ({ outFeatures }) => outFeatures })) {
    test(check.name, check.run);
  }

  test("its penalty is summed over its layers", async () => {
    const model = new Sequential(new Linear(2, 3), new Linear(3, 4));
    const adapted = attach(model, gain, {}, { targets: ["0", "1"] });
    await evaluate(...[...adapted.parameters()].map(([, p]) => p.assign(p.add(2))));
    expect(await adapted.penalty()!.item()).toBe(4 * 7);
    expect(attach(model, lora, { rank: 1 }, { targets: ["0"], name: "other" }).penalty()).toBeNull();
  });

  test("on top of a LoRA it sees the layer as the LoRA made it, apart and merged", async () => {
    const model = new Sequential(new Linear(6, 5, { key: key(1), bias: false })).eval() as Sequential;
    const parts = [
      attach(model, lora, { rank: 2 }, { targets: ["0"], name: "low" }),
      attach(model, gain, {}, { targets: ["0"], name: "up" }),
    ];
    for (const part of parts) {
      await evaluate(
        ...[...part.parameters()].map(([path, p]) =>
          p.assign(normal(p.shape, { key: key(2).foldName(path) })),
        ),
      );
    }
    const x = normal([3, 6], { key: key(3) });
    const apart = await model.forward(x).data();
    await parts[0]!.merge();
    const merged = await model.forward(x).data();
    for (const [i, y] of apart.entries()) expect(merged[i]).toBeCloseTo(y, 4);
  });
});

describe("the contract test finds", () => {
  const failing = async (adapter: Adapter<object, { g: Tensor }>): Promise<string[]> => {
    const failed: string[] = [];
    for (const { name, run } of contractChecks(adapter, {})) {
      await run().catch(() => failed.push(name.replace(/^.*: /, "")));
    }
    return failed;
  };

  test("a forward that is not the merge", async () => {
    const wrong = defineAdapter<object, { g: Tensor }>({
      ...(gain as Adapter<object, { g: Tensor }>),
      forward: (x, base, { g }) => base(x).mul(g.reshape([-1]).add(1)), // scales the bias too
    });
    expect(await failing(wrong)).toContain("forward agrees with the merged weight");
  });

  test("a start that changes the layer", async () => {
    const wrong = defineAdapter<object, { g: Tensor }>({
      ...(gain as Adapter<object, { g: Tensor }>),
      init: ({ outFeatures, dtype }) => ({ g: zeros([outFeatures, 1], { dtype }).add(0.1) }),
    });
    expect(await failing(wrong)).toEqual(["a fresh adapter leaves the layer as it is, bit for bit"]);
  });
});

test("two adapters of one name, and a name that is no word, are refused", () => {
  const model = new Sequential(new Linear(2, 3));
  attach(model, gain, {}, { targets: ["0"] });
  expect(() => attach(model, gain, {}, { targets: ["0"] })).toThrow(
    /a name that no adapter on the model has, got "default"/,
  );
  expect(() => attach(model, gain, {}, { targets: ["0"], name: "a.b" })).toThrow(ConfigError);
});
