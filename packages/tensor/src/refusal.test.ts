import { beforeEach, describe, expect, test } from "vitest";
import { compile } from "./compile.js";
import { currentBackend, setDefaultBackend } from "./default-backend.js";
import { evaluate } from "./evaluate.js";
import { defineOp, type OpDef } from "./op.js";
import { tensor } from "./ops/create.js";
import { parameter } from "./parameter.js";
import { reference } from "./reference/backend.js";
import { apply, type Tensor } from "./tensor.js";
import { groupInterpreter } from "./testing/group-interpreter.js";

/** √x that refuses what is below 0, when it is computed. */
const rootOp: OpDef<null> = defineOp<null>("rootOrRefuse", {
  kind: "kernel",
  infer: ([x]) => x!,
  reference: ([x]) =>
    x!.data.map((v) => {
      if (v < 0) throw new RangeError(`a root of ${v}`);
      return Math.sqrt(v);
    }),
  kernels: {},
});
const root = (x: Tensor): Tensor => apply(rootOp, [x], null);

describe.each(Object.entries({ reference, "group interpreter": groupInterpreter }))(
  "an op that refuses numbers on the %s",
  (_, make) => {
    beforeEach(() => setDefaultBackend(make()));

    test("leaves every parameter as it was, also those that do not depend on it", async () => {
      const p = parameter(tensor([4, 9]));
      const q = parameter(tensor([1, 2]));
      const step = (shift: number) => evaluate(q.assign(q.add(1)), p.assign(root(p.add(shift))));
      await expect(step(-5)).rejects.toThrow("a root of -1");
      expect(await p.toArray()).toEqual([4, 9]);
      expect(await q.toArray()).toEqual([1, 2]);
      await step(0);
      expect(await p.toArray()).toEqual([2, 3]);
      expect(await q.toArray()).toEqual([2, 3]);
    });

    test("the same when compiled, and memory stays flat", async () => {
      const p = parameter(tensor([100, 400]));
      const q = parameter(tensor([0, 0]));
      const step = compile((shift: Tensor) => ({
        value: root(p.add(shift)),
        done: [q.assign(p), p.assign(root(p.add(shift)))],
      }));
      const { value } = await step(tensor([0, 0]));
      expect(await value.toArray()).toEqual([10, 20]);
      expect(await p.toArray()).toEqual([10, 20]);
      expect(await q.toArray()).toEqual([100, 400]);
      const before = currentBackend()!.memory().ownedBytes;
      await expect(step(tensor([-11, 0]))).rejects.toThrow("a root of -1");
      expect(await p.toArray()).toEqual([10, 20]);
      await step(tensor([-1, -4]));
      expect(await p.toArray()).toEqual([3, 4]);
      expect(await q.toArray()).toEqual([10, 20]);
      expect(currentBackend()!.memory().ownedBytes - before).toBeLessThanOrEqual(16);
    });
  },
);
