import { beforeAll, describe, expect, test } from "vitest";
import { cast, evaluate, gradients, mul, setDefaultBackend, sum } from "../src/index.js";
import { groupInterpreter } from "../src/testing/group-interpreter.js";
import { expectClose, numbers } from "./check-gradients.js";
import { networkCases } from "./network-cases.js";

// Results are rounded once or a few times: some units in the last of 11 (f16) or 8 (bf16) places.
const tolerance = { f16: 2e-2, bf16: 1e-1 };

for (const dtype of ["f16", "bf16"] as const) {
  describe(`network ops over ${dtype}`, () => {
    beforeAll(() => setDefaultBackend(groupInterpreter()));
    for (const { name, f, inputs } of networkCases().filter((c) => !c.name.includes("70"))) {
      test(`${name}: values are near those in f32, both gradients keep the dtype and are finite`, async () => {
        const xs = inputs.map((x) => cast(x, dtype));
        const y = f(...xs);
        const first = gradients(sum(y), xs);
        const second = gradients(
          first.map((g) => sum(mul(g, g))).reduce((a, b) => a.add(b)),
          xs,
        );
        expect([...first, ...second].map((g) => g.dtype)).toEqual([...xs, ...xs].map(() => dtype));
        const all = [y, ...first, ...second];
        await evaluate(...all);
        const wide = f(...xs.map((x) => cast(x, "f32")));
        expectClose(Array.from(await y.data()), numbers(wide), tolerance[dtype]);
        for (const t of all)
          expect(Array.from(await t.data()).filter((v) => !Number.isFinite(v))).toEqual([]);
      });
    }
  });
}
