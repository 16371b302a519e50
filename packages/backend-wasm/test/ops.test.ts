import { afterAll, beforeAll, describe, test } from "vitest";
import { wasm } from "@lowrank/backend-wasm";
import type { Backend } from "@lowrank/tensor";
import { checkOp, drawCase, opCases } from "@lowrank/tensor/testing";

let backend: Backend;
beforeAll(async () => {
  backend = await wasm();
});
afterAll(() => backend.dispose());

describe("the WebAssembly backend agrees with the reference", () => {
  for (const one of opCases()) {
    test(`${one.op.name} in ${one.dtypes.join(", ")}`, async () => {
      for (const dtype of one.dtypes) {
        for (let seed = 1; seed <= 15; seed++) await checkOp(backend, drawCase(one, dtype, seed));
      }
    });
  }
});
