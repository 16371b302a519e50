import { afterAll, beforeAll, describe, test } from "vitest";
import type { Backend } from "@lowrank/tensor";
import { checkGraph } from "@lowrank/tensor/testing";
import { gpu, noGpu } from "./gpu.js";

// LOWRANK_GPU_FUZZ=2000 runs more graphs; LOWRANK_FUZZ_FROM=n begins at another seed.
const count = Number(process.env["LOWRANK_GPU_FUZZ"] ?? 40);
const from = Number(process.env["LOWRANK_FUZZ_FROM"] ?? 1);
const BATCH = 20;

describe.skipIf(noGpu)("random graphs give on WebGPU what they give on the reference", () => {
  let backend: Backend;
  beforeAll(async () => {
    backend = await gpu();
  });
  afterAll(() => backend.dispose());

  for (let start = from; start < from + count; start += BATCH) {
    const end = Math.min(start + BATCH, from + count);
    test(`seeds ${start} to ${end - 1}`, { timeout: 300_000 }, async () => {
      for (let seed = start; seed < end; seed++) await checkGraph(backend, seed, { f64: false });
    });
  }
});
