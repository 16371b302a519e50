import { describe, expect, test } from "vitest";
import { defineOp, tensor } from "@lowrank/tensor";
import {
  checkGradient,
  checkOp,
  Drawer,
  drawCase,
  entry,
  groupInterpreter,
  opCases,
  reference,
  Rng,
  runOn,
} from "@lowrank/tensor/testing";
import { apply } from "@lowrank/tensor";

// The scheduler's groups in plain loops: views, fusion and the memory plan of single ops, without a device.
describe("the scheduler agrees with the reference", () => {
  for (const one of opCases()) {
    test(`${one.op.name} in ${one.dtypes.join(", ")}`, async () => {
      const backend = groupInterpreter();
      for (const dtype of one.dtypes) {
        for (let seed = 1; seed <= 12; seed++) await checkOp(backend, drawCase(one, dtype, seed));
      }
    });
  }
});

describe("the kit finds what is wrong", () => {
  test("a gradient of the wrong size", async () => {
    const wrong = defineOp("wrong", {
      kind: "elementwise",
      infer: ([x]) => x!,
      scalar: (x) => x! * x!,
      vjp: (dy, { inputs: [x] }) => [dy.mul(x!)],
    });
    const one = entry(wrong, ["f64"], true, (d) => {
      d.input([3]);
      return d.case("wrong", ([x]) => apply(wrong, [x!], null));
    });
    await expect(checkGradient(drawCase(one, "f64", 1, true))).rejects.toThrow(
      /gradient of wrong of f64\[3\]: input 0 at \[\d\]: differences give/,
    );
  });

  test("a backend that is off by one part in a million, at the right place", async () => {
    const d = new Drawer(new Rng(3), "f32", false);
    d.input([4, 5], { plain: true });
    let calls = 0;
    const off = d.case("sum", ([x]) => x!.mul(tensor([1, 1, calls++ ? 1.000001 : 1, 1, 1])));
    await expect(checkOp(reference(), off)).rejects.toThrow(
      /at \[\d, 2\] of f32\[4, 5\]: expected .* 4 of 20 wrong/,
    );
  });

  test("results are read in the order in which they were asked for", async () => {
    const results = await runOn(reference(), () => [tensor([1]).add(1), tensor([1]).add(2)]);
    expect(results.map((r) => r.data[0])).toEqual([2, 3]);
  });
});
