import { fileURLToPath } from "node:url";
import { fromPretrained, modelFromPretrained, openSafetensors } from "@lowrank/models";
import { valueAndGrad, type Module } from "@lowrank/nn";
import { evaluate, key, setDefaultBackend, type Tensor, tensor } from "@lowrank/tensor";
import { beforeAll, describe, expect, test } from "vitest";
import { attach } from "../src/attach.js";
import { lora } from "../src/lora.js";
import { loadPeft } from "../src/peft.js";
import { testBackend } from "./backend.js";

beforeAll(async () => setDefaultBackend(await testBackend()));

const golden = (path: string): string =>
  fileURLToPath(new URL(`../../models/test/goldens/${path}`, import.meta.url));

async function expectNear(got: Tensor, want: ArrayLike<number>, bound: number): Promise<void> {
  const data = await got.data();
  expect(data.length).toBe(want.length);
  const size = Math.max(...Array.from(want, Math.abs));
  let worst = 0;
  for (let i = 0; i < want.length; i++) worst = Math.max(worst, Math.abs(data[i]! - want[i]!) / size);
  expect(worst).toBeLessThan(bound);
}

describe("GPT-2, whose weights are stored the other way around", () => {
  const adapted = async (): Promise<{ ids: Tensor; want: Float32Array }> => {
    const file = await openSafetensors(golden("gpt2/adapted.safetensors"));
    const ids = (await file.tensors.get("input_ids")!.array()) as BigInt64Array;
    const want = (await file.tensors.get("logits")!.array()) as Float32Array;
    await file.close();
    return { ids: tensor(Int32Array.from(ids, Number), { dtype: "i32", shape: [2, 9] }), want };
  };

  test("an adapter of PEFT gives PEFT's logits: on top, merged, and as an ordinary model", async () => {
    const { ids, want } = await adapted();
    const model = await fromPretrained(golden("gpt2"));
    const before = await model.state().get("transformer.h.0.attn.c_proj.weight")!.data();
    const attached = await loadPeft(model, golden("gpt2/adapter"));
    expect(attached.layers.length).toBe(8);
    await expectNear(model.forward(ids), want, 1e-5);
    await attached.merge();
    await expectNear(model.forward(ids), want, 1e-5);
    attached.unmerge();
    expect(await model.state().get("transformer.h.0.attn.c_proj.weight")!.data()).toEqual(before);
    await attached.mergeAndUnload();
    await expectNear(model.forward(ids), want, 1e-5);
    expect(model.state().get("transformer.h.0.attn.c_attn.weight")!.shape).toEqual([16, 48]);
    expect(model.state().get("transformer.h.0.attn.c_proj.weight")!.shape).toEqual([16, 16]);
    expect([...model.parameters()].some(([path]) => path.includes("lora"))).toBe(false);
  });

  test("all-linear takes the layers of the blocks and trains in the shapes of PEFT", async () => {
    const model = await fromPretrained(golden("gpt2"));
    const attached = attach(model, lora, { rank: 2 }, { targets: "all-linear", key: key(1) });
    expect(attached.layers.length).toBe(8);
    const shapes = new Map([...attached.parameters()].map(([path, p]) => [path, p.shape]));
    expect(shapes.get("transformer.h.0.attn.c_attn.lora_A.default.weight")).toEqual([2, 16]);
    expect(shapes.get("transformer.h.0.attn.c_attn.lora_B.default.weight")).toEqual([48, 2]);
  });
});

test.each([
  ["bert", "feature-extraction", 12],
  ["bert-sequence", "text-classification", 13],
] as const)("LoRA on %s leaves out the head and has gradients everywhere", async (name, task, layers) => {
  const model = (await modelFromPretrained(golden(name), { task })) as Module & {
    forward(ids: Tensor): Tensor;
  };
  const attached = attach(model, lora, { rank: 2 }, { targets: "all-linear", key: key(1) });
  // Six layers in each of the two blocks, and the pooler.
  expect(attached.layers.filter((path) => !path.includes("pooler")).length).toBe(12);
  expect(attached.layers).not.toContain("classifier");
  expect(attached.layers.length).toBeGreaterThanOrEqual(layers);
  const ids = tensor(Int32Array.of(3, 4, 5, 6), { dtype: "i32", shape: [1, 4] });
  const square = (): Tensor => model.forward(ids).mul(model.forward(ids)).mean();
  const { value, grads } = valueAndGrad(model, square)();
  await evaluate(value, ...grads.values());
  expect(grads.size).toBe(2 * attached.layers.length);
  for (const [path, g] of grads) {
    if (!path.includes("lora_B") || path.includes("pooler") || path.includes("self.key")) continue;
    expect(
      (await g.data()).some((x) => x !== 0),
      path,
    ).toBe(true);
  }
});
