import { valueAndGrad } from "@lowrank/nn";
import { type Backend, defaultBackend, evaluate, setDefaultBackend, zeros } from "@lowrank/tensor";
import { reference } from "@lowrank/tensor/reference";
import { beforeAll, describe, expect, test } from "vitest";
import { modelFromPretrained } from "../src/model-from-pretrained.js";
import { pretrainedFiles } from "../src/pretrained.js";
import type { ViTModel } from "../src/vit.js";
import { parseViTConfig } from "../src/vit-config.js";
import { bytesOf } from "./folder-bytes.js";
import { expectNear, golden, readGoldens } from "./golden-files.js";

const BACKENDS: [string, () => Backend | Promise<Backend>][] = [
  ["reference", reference],
  ["wasm", defaultBackend],
];

describe.each(BACKENDS)("on %s, against Transformers", (_, backend) => {
  beforeAll(async () => setDefaultBackend(await backend()));

  test("ViT's states agree to 1e-5, of images that are no squares and that patches do not fill", async () => {
    const want = await readGoldens(golden("vit/expected.safetensors"));
    const model = await modelFromPretrained(golden("vit"), { task: "image-feature-extraction" });
    const hidden = model.forward(want.tensor("pixels"));
    expect(hidden.shape).toEqual([2, 9, 16]);
    await expectNear(hidden, want.numbers("hidden"), 1e-5, "hidden");
    await expectNear((model as ViTModel).pooled(hidden)!, want.numbers("pooled"), 1e-5, "pooled");
  });

  test.each([false, true])(
    "the classifier agrees in logits, loss and gradients, checkpoint %s",
    async (checkpoint) => {
      const want = await readGoldens(golden("vit-classes/expected.safetensors"));
      const model = await modelFromPretrained(golden("vit-classes"), { task: "image-classification" });
      const [pixels, labels] = [want.tensor("pixels"), want.tensor("labels")];
      await expectNear(model.forward(pixels), want.numbers("logits"), 1e-5, "logits");
      const { value, grads } = valueAndGrad(model, () => model.loss(pixels, labels, { checkpoint }))();
      await evaluate(value, ...grads.values());
      await expectNear(value, want.numbers("loss"), 1e-5, "loss");
      const expected = want.names.filter((n) => n.startsWith("grad.")).map((n) => n.slice(5));
      expect([...grads.keys()].sort()).toEqual(expected.sort());
      for (const [path, g] of grads) {
        // The bias of keys moves all scores of a query alike: its gradient is rounding.
        if (!path.endsWith("key.bias")) await expectNear(g, want.numbers(`grad.${path}`), 1e-4, path);
      }
    },
  );
});

describe("loading and saving", () => {
  beforeAll(async () => setDefaultBackend(await defaultBackend()));

  test.each(["vit", "vit-classes"])("%s is saved with its settings and weights", async (name) => {
    const model = await modelFromPretrained(golden(name));
    const again = await modelFromPretrained(await bytesOf(pretrainedFiles(model)));
    expect(again.constructor).toBe(model.constructor);
    expect(again.config).toEqual(model.config);
    for (const [path, p] of model.state()) {
      expect(await again.state().get(path)!.data()).toEqual(await p.data());
    }
  });

  test("a base gets a new head of classes", async () => {
    const model = await modelFromPretrained(golden("vit"), {
      task: "image-classification",
      labels: ["a", "b", "c"],
    });
    expect(model.labels).toEqual(["a", "b", "c"]);
    expect(model.forward(zeros([1, 2, 9, 12])).shape).toEqual([1, 3]);
  });

  test("images of another shape are refused", async () => {
    const model = await modelFromPretrained(golden("vit"), { task: "image-feature-extraction" });
    expect(() => model.forward(zeros([1, 3, 9, 12]))).toThrow(
      /images of shape \[batch, 2, 9, 12\], got \[1, 3, 9, 12\]; scale them/,
    );
    expect(() => model.forward(zeros([2, 9, 12]))).toThrow(/images of shape/);
  });

  test.each([
    [{ image_size: [8] }, /image_size to be an integer, or two: height and width/],
    [{ image_size: 8, patch_size: 16 }, /patch_size to be at most image_size/],
    [
      { hidden_size: 10, num_attention_heads: 4 },
      /hidden_size to be a multiple of num_attention_heads \(4\)/,
    ],
  ])("refuses %o", (json, message) => {
    expect(() => parseViTConfig(json)).toThrow(message);
  });
});
