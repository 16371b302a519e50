import { numericalRank } from "@lowrank/linalg";
import { Linear, Sequential, valueAndGrad } from "@lowrank/nn";
import { concat, key, normal, ones, setDefaultBackend, type Tensor, zeros } from "@lowrank/tensor";
import { beforeAll, describe, expect, test } from "vitest";
import { testBackend } from "../test/backend.js";
import { close, read, targetOf } from "../test/layers.js";
import { attach } from "./attach.js";
import { capaBoost, fixedCountMask } from "./capa-boost.js";
import { loha } from "./loha.js";
import { lora, type LoraParams } from "./lora.js";
import { peftFiles } from "./peft.js";
import { contractChecks } from "./testing.js";

beforeAll(async () => setDefaultBackend(await testBackend()));

const boosted = capaBoost(lora, ["A", "B"]);
for (const check of [
  ...contractChecks(
    boosted,
    { rank: 3, alpha: 6 },
    { count: ({ inFeatures, outFeatures }) => 3 * (inFeatures + outFeatures) },
  ),
  ...contractChecks(capaBoost(loha, ["w1A", "w1B"]), { rank: 2, copies: 3, density: 0.7 }),
])
  test(check.name, check.run);

type Masked = LoraParams & { mask_A: Tensor; mask_B: Tensor };
const target = targetOf("linear", 40, 32);
const none = zeros([32, 40]);

/** Parameters with a B that is not zero, and the masks of a configuration. */
function drawn(rank: number, config: { copies?: number; density?: number }, path = "layer"): Masked {
  const made = boosted.init({ ...target, path }, { rank, ...config }, key(1), () => none) as Masked;
  return { ...made, A: normal([rank, 40], { key: key(2) }), B: normal([32, rank], { key: key(3) }) };
}

describe("capaBoost", () => {
  test("copies of a LoRA of rank r reach rank copies · r", async () => {
    for (const copies of [1, 2, 4]) {
      const update = boosted.merge(none, drawn(4, { copies }), { rank: 4, copies }, target);
      expect(await numericalRank(update).item()).toBe(4 * copies);
    }
  });

  test("with masks of ones d copies are d times the LoRA, and one is the LoRA", async () => {
    const plain = lora.merge(none, drawn(3, {}), { rank: 3 }, target);
    for (const copies of [1, 3]) {
      const config = { rank: 3, copies, density: 1 };
      const update = boosted.merge(none, drawn(3, config), config, target);
      close(await read(update), await read(plain.mul(copies)), 1e-5);
    }
  });

  test("it is the LoRA of rank copies · r of the masked factors one after the other", async () => {
    const params = drawn(3, {});
    const copy = (t: Tensor, masks: Tensor, i: number): Tensor =>
      t.mul(masks.slice([[i, i + 1]]).reshape(t.shape));
    const A = concat([copy(params.A, params.mask_A, 0), copy(params.A, params.mask_A, 1)], 0);
    const B = concat([copy(params.B, params.mask_B, 0), copy(params.B, params.mask_B, 1)], 1);
    const update = boosted.merge(none, params, { rank: 3, alpha: 6 }, target);
    close(await read(update), await read(lora.merge(none, { A, B }, { rank: 6, alpha: 12 }, target)), 1e-5);
  });

  test("masks have an exact number of ones, and differ by copy, parameter and layer", async () => {
    const { mask_A, mask_B } = drawn(3, { density: 0.3 });
    close(await read(mask_A.reshape([2, 120]).sum(1)), [36, 36], 0);
    close(await read(mask_B.reshape([2, 96]).sum(1)), [28, 28], 0);
    const [first, second] = [await read(mask_A.slice([[0, 1]])), await read(mask_A.slice([[1, 2]]))];
    expect(first).not.toEqual(second);
    const elsewhere = drawn(3, { density: 0.3 }, "other");
    expect(await read(elsewhere.mask_A)).not.toEqual(await read(mask_A));
    expect(await read(drawn(3, { density: 0.3 }).mask_A)).toEqual(await read(mask_A));
  });

  test("the mask of a key is the same everywhere: a vector to hold it to", async () => {
    const mask = await read(fixedCountMask([16], 0.5, key(5).foldName("q_proj")).astype("f32"));
    expect(mask.join("")).toBe("0001011111100001");
  });

  test("numbers that no copy sees have no gradient, and the masks stay out of the file", async () => {
    const model = new Sequential(new Linear(40, 32, { key: key(4) }));
    const adapted = attach(model, boosted, { rank: 3 }, { targets: ["0"] });
    for (const [path, p] of adapted.parameters()) if (path.includes("lora_B.")) p.replace(ones([32, 3]));
    const x = normal([4, 40], { key: key(5) });
    const { grads } = valueAndGrad(model, () => model.forward(x).square().sum())();
    const dA = await read([...grads].find(([path]) => path.includes("lora_A."))![1]);
    const masks = [...adapted.parameters()].find(([path]) => path.includes("mask_A"))![1];
    const seen = await read(masks.sum(0).reshape([120]));
    for (const [i, count] of seen.entries()) expect(dA[i] === 0).toBe(count === 0);
    // One in four, (1 − p)².
    expect(seen.filter((count) => count === 0).length / 120).toBeGreaterThan(0.1);
    const header = new TextDecoder().decode((await peftFiles(adapted)).get("adapter_model.safetensors"));
    expect(header).not.toContain("mask");
  });

  test.each([
    [{ rank: 2, copies: 0 }, /copies to be an integer of at least 1/],
    [{ rank: 2, density: 0 }, /density to be a finite number/],
    [{ rank: 50 }, /lora: expected rank/],
  ])("refuses %o", (config, message) => {
    const model = new Sequential(new Linear(12, 6));
    expect(() => attach(model, boosted, config, { targets: ["0"] })).toThrow(message);
  });
});
