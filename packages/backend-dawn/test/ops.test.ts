import { afterAll, beforeAll, describe, expect, test } from "vitest";
import type { Backend } from "@lowrank/tensor";
import { checkOp, drawCase, type OpCase, opCases, tensorOf } from "@lowrank/tensor/testing";
import { gpu, noGpu } from "./gpu.js";

// LOWRANK_GPU_SEEDS=15 draws as many cases of each op and dtype as the other backends get.
const seeds = Number(process.env["LOWRANK_GPU_SEEDS"] ?? 3);

/** What gives f64 is refused, everything else agrees with the reference. */
async function check(backend: Backend, one: OpCase): Promise<void> {
  const wide = one.build(one.inputs.map(tensorOf)).some((t) => t.dtype === "f64");
  const done = checkOp(backend, one);
  if (wide) await expect(done).rejects.toThrow("got f64, which GPUs of the web do not have");
  else await done;
}

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
        for (let seed = 1; seed <= seeds; seed++) await check(backend, drawCase(one, dtype, seed));
      }
    });
  }
});
