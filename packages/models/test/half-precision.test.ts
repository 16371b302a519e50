import { type DType, setDefaultBackend, type Tensor, tensor } from "@lowrank/tensor";
import { beforeAll, expect, test } from "vitest";
import { modelFromPretrained } from "../src/model-from-pretrained.js";
import { pretrainedFiles } from "../src/pretrained.js";
import { testBackend } from "./backend.js";
import { bytesOf } from "./folder-bytes.js";
import { golden, readGoldens } from "./golden-files.js";

beforeAll(async () => setDefaultBackend(await testBackend()));

const NAMES = [
  "mistral",
  "qwen2",
  "qwen3",
  "gpt2",
  "bert",
  "bert-sequence",
  "bert-token",
  "vit",
  "vit-classes",
];

// Weights stay in 16 bits and are widened where they are multiplied: the results are those of the widened weights.
test.each(NAMES.flatMap((name) => (["f16", "bf16"] as const).map((dtype): [string, DType] => [name, dtype])))(
  "%s in %s computes what its weights widened to f32 compute",
  async (name, dtype) => {
    const whole = await modelFromPretrained(golden(name));
    const files = await bytesOf(pretrainedFiles(whole, dtype));
    const stored = await modelFromPretrained(files);
    const wide = await modelFromPretrained(files, { dtype: "f32" });
    expect(new Set([...stored.parameters()].map(([, p]) => p.dtype))).toEqual(new Set([dtype]));
    const want = await readGoldens(golden(`${name}/expected.safetensors`));
    const input = want.names.includes("pixels")
      ? want.tensor("pixels")
      : tensor([[3, 4, 5, 6]], { dtype: "i32" });
    const run = async (model: unknown): Promise<ArrayLike<number>> =>
      (model as { forward(input: Tensor): Tensor }).forward(input).data();
    const [a, b] = [await run(stored), await run(wide)];
    expect(a.length).toBe(b.length);
    for (let i = 0; i < a.length; i++) expect(a[i]).toBeCloseTo(b[i]!, 4);
  },
);
