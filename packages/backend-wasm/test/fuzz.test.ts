import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { wasm } from "@lowrank/backend-wasm";
import type { Backend } from "@lowrank/tensor";
import { checkGraph } from "@lowrank/tensor/testing";

// LOWRANK_FUZZ=50000 runs more graphs; LOWRANK_FUZZ_FROM=n begins at another seed.
const count = Number(process.env.LOWRANK_FUZZ ?? 2000);
const from = Number(process.env.LOWRANK_FUZZ_FROM ?? 1);
const BATCH = 250;

let backend: Backend;
beforeAll(async () => {
  backend = await wasm();
});
afterAll(() => backend.dispose());

describe("random graphs give on WebAssembly what they give on the reference", () => {
  for (let start = from; start < from + count; start += BATCH) {
    const end = Math.min(start + BATCH, from + count);
    test(`seeds ${start} to ${end - 1}`, { timeout: 120_000 }, async () => {
      for (let seed = start; seed < end; seed++) await checkGraph(backend, seed);
    });
  }

  test("and leave no memory behind", () => {
    // What is left belongs to tensors that the collector has not seen yet, each smaller than 64 KiB.
    expect(backend.memory().ownedBytes).toBeLessThan(64 * 2 ** 20);
  });
});
