import { beforeEach, describe, test } from "vitest";
import { evaluate, gradients, setDefaultBackend } from "../src/index.js";
import { reference } from "../src/reference/backend.js";
import { groupInterpreter } from "../src/testing/group-interpreter.js";
import { draw, expectClose, numbers } from "./check-gradients.js";
import { networkCases } from "./network-cases.js";

const backends = {
  reference,
  "group interpreter": () => groupInterpreter(),
  "group interpreter that reads views": () => groupInterpreter({ layout: "any" }),
  "group interpreter of small groups": () => groupInterpreter({ maxInstructions: 3, maxBindings: 4 }),
};

for (const [name, make] of Object.entries(backends)) {
  describe(`network ops on the ${name}`, () => {
    beforeEach(() => setDefaultBackend(make()));
    for (const { name: use, f, inputs } of networkCases()) {
      test(`${use}: values and gradients are those of the op table`, async () => {
        const y = f(...inputs);
        const dy = draw(y.shape, 5).astype("f32");
        const all = [y, ...gradients(y, inputs, dy)];
        const want = all.map(numbers);
        await evaluate(...all);
        for (const [i, t] of all.entries()) expectClose(Array.from(await t.data()), want[i]!, 2e-5);
      });
    }
  });
}
