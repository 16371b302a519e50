import { afterAll, beforeAll, describe, test } from "vitest";
import type { Backend } from "@lowrank/tensor";
import { checkOp, drawCase, opCases } from "@lowrank/tensor/testing";
import { blas, noBlas } from "./blas.js";

describe.skipIf(noBlas)("the native backend agrees with the reference", () => {
  let backend: Backend;
  beforeAll(async () => {
    backend = await blas({ always: true }); // all that the library can do, however small
  });
  afterAll(() => backend.dispose());

  for (const one of opCases()) {
    test(`${one.op.name} in ${one.dtypes.join(", ")}`, async () => {
      for (const dtype of one.dtypes) {
        for (let seed = 1; seed <= 15; seed++) await checkOp(backend, drawCase(one, dtype, seed));
      }
    });
  }
});
