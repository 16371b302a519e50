import { afterAll, beforeAll, describe, test } from "vitest";
import type { Backend } from "@lowrank/tensor";
import { drawCase, opCases } from "@lowrank/tensor/testing";
import { checkCase } from "./check-case.js";
import { gpu, noGpu } from "./gpu.js";

// LOWRANK_GPU_SEEDS=15 draws as many cases of each op and dtype as the other backends get.
const seeds = Number(process.env["LOWRANK_GPU_SEEDS"] ?? 3);

// Software Vulkan compiles a kernel for seconds, and some ops have a dozen.
describe.skipIf(noGpu)("the WebGPU backend agrees with the reference", { timeout: 300_000 }, () => {
  let backend: Backend;
  beforeAll(async () => {
    backend = await gpu();
  });
  afterAll(() => backend.dispose());

  for (const one of opCases()) {
    const dtypes = one.dtypes.filter((dtype) => dtype !== "f64");
    test(`${one.op.name} in ${dtypes.join(", ")}`, async () => {
      for (const dtype of dtypes) {
        for (let seed = 1; seed <= seeds; seed++) await checkCase(backend, drawCase(one, dtype, seed));
      }
    });
  }
});
