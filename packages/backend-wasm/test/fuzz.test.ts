import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { wasm } from "@lowrank/backend-wasm";
import type { Backend } from "@lowrank/tensor";
import {
  buildGraph,
  checkGraph,
  describeProgram,
  difference,
  randomGraph,
  runOn,
} from "@lowrank/tensor/testing";

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

  test("also large ones on several threads, with the bits of one thread", { timeout: 120_000 }, async () => {
    const [many, one] = [await wasm({ threads: 3 }), await wasm({ threads: 1 })];
    try {
      for (let seed = from; seed < from + Math.min(100, count); seed++) {
        await checkGraph(many, seed, { large: true });
        const program = randomGraph(seed, { large: true });
        const build = () => buildGraph(program);
        const [a, b] = [await runOn(many, build), await runOn(one, build)];
        for (const [i, result] of a.entries()) {
          const wrong = difference(result, b[i]!, { rtol: 0, atol: 0 });
          if (wrong)
            throw new Error(`${describeProgram(program)}\n  result ${i} with three threads: ${wrong}`);
        }
      }
    } finally {
      await many.dispose();
      await one.dispose();
    }
  });

  test("and leave no memory behind", () => {
    // What is left belongs to tensors that the collector has not seen yet, each smaller than 64 KiB.
    expect(backend.memory().ownedBytes).toBeLessThan(64 * 2 ** 20);
  });
});
