import { beforeEach, describe, expect, test } from "vitest";
import { withCompanion } from "./companion.js";
import { compile } from "./compile.js";
import { setDefaultBackend } from "./default-backend.js";
import type { Backend } from "./device.js";
import { evaluate } from "./evaluate.js";
import { defineOp, type OpDef } from "./op.js";
import { scalar, tensor } from "./ops/create.js";
import { parameter } from "./parameter.js";
import { planStats } from "./plan-cache.js";
import { reference } from "./reference/backend.js";
import { apply, applyMulti, type Tensor } from "./tensor.js";
import { groupInterpreter } from "./testing/group-interpreter.js";
import { grad } from "./transform.js";

const map = (x: Float64Array | undefined, f: (v: number) => number) => Float64Array.from(x!, f);

/** x³, which only a backend named "cpu" has a kernel for. */
const cubeOp: OpDef<null> = defineOp<null>("cube", {
  kind: "kernel",
  infer: ([x]) => x!,
  vjp: (dy, { inputs: [x] }) => [dy.mul(x!.square()).mul(3)],
  reference: ([x]) => map(x?.data, (v) => v ** 3),
  kernels: { cpu: {} },
});

/** Whole and broken part. */
const splitOp: OpDef<null> = defineOp<null>("split", {
  kind: "kernel",
  infer: ([x]) => [x!, x!],
  reference: ([x]) => [map(x?.data, Math.trunc), map(x?.data, (v) => v - Math.trunc(v))],
  kernels: { cpu: {} },
});

const cube = (x: Tensor): Tensor => apply(cubeOp, [x], null);

/** A backend that tells which ops it was given, under a name of its own. */
function named(name: string, backend: Backend, ops: string[]): Backend {
  const prepare = backend.prepare.bind(backend);
  return Object.assign(backend, {
    name,
    prepare(graph: Parameters<typeof prepare>[0]) {
      const leaves = new Set(graph.leaves);
      ops.push(...graph.nodes.filter((node) => !leaves.has(node)).map((node) => node.op.name));
      return prepare(graph);
    },
  });
}

for (const [name, make] of Object.entries({ reference, "group interpreter": groupInterpreter })) {
  describe(`a ${name} with a companion`, () => {
    let gpu: Backend;
    let onGpu: string[];
    let onCpu: string[];

    beforeEach(() => {
      onGpu = [];
      onCpu = [];
      gpu = withCompanion(named("gpu", make(), onGpu), named("cpu", reference(), onCpu));
      setDefaultBackend(gpu);
    });

    test("leaves graphs of its own ops alone", async () => {
      expect(await tensor([1, 2]).mul(3).toArray()).toEqual([3, 6]);
      expect(onCpu).toEqual([]);
    });

    test("runs a foreign op between its own, each op where it belongs", async () => {
      const y = cube(tensor([1, 2, 3]).add(1)).mul(2);
      expect(await y.toArray()).toEqual([16, 54, 128]);
      expect(onCpu).toEqual(["cube"]);
      expect(onGpu).not.toContain("cube");
    });

    test("hands out results that are roots themselves, of one output and of several", async () => {
      const x = tensor([1.5, -2.25]);
      const y = cube(x);
      const [whole, broken] = applyMulti(splitOp, [x.mul(2)], null);
      await evaluate(y, whole!, broken!);
      expect(await y.toArray()).toEqual([3.375, -11.390625]);
      expect(await whole!.toArray()).toEqual([3, -4]);
      expect(await broken!.toArray()).toEqual([0, -0.5]);
    });

    test("runs foreign ops that read each other, and one whose result nobody picks", async () => {
      const x = tensor([1, -2]);
      const [, broken] = applyMulti(splitOp, [cube(x.div(4))], null);
      const y = cube(broken!.add(1)).add(cube(x));
      const expected = [(1 / 64 + 1) ** 3 + 1, (-1 / 8 + 1) ** 3 - 8];
      expect(await y.toArray()).toEqual(expected.map((v) => expect.closeTo(v, 6)));
    });

    test("differentiates, twice", async () => {
      const x = tensor([1, 2]);
      const slope = grad((t: Tensor) => cube(t).sum());
      expect(await slope(x).toArray()).toEqual([3, 12]);
      expect(await grad((t: Tensor) => slope(t).sum())(x).toArray()).toEqual([6, 12]);
    });

    test("writes parameters after everything was read", async () => {
      const p = parameter(tensor([1, 2]));
      const q = parameter(tensor([3, 4]));
      const sum = cube(p).add(q);
      await evaluate(sum, p.assign(cube(q)), q.assign(p));
      expect(await sum.toArray()).toEqual([4, 12]);
      expect(await p.toArray()).toEqual([27, 64]);
      expect(await q.toArray()).toEqual([1, 2]);
    });

    test("finds its plan again, with other numbers and scalars, and keeps no memory", async () => {
      const step = async (x: readonly number[], rate: number) =>
        cube(tensor(x).add(1)).mul(scalar(rate)).add(scalar(1)).toArray();
      expect(await step([0, 1], 2)).toEqual([3, 17]);
      const before = gpu.memory().ownedBytes;
      expect(await step([1, 2], 3)).toEqual([25, 82]);
      expect(planStats(gpu)).toMatchObject({ hits: 1, misses: 1 });
      expect(gpu.memory().ownedBytes - before).toBeLessThanOrEqual(16);
    });

    test("is compiled like any other", async () => {
      const step = compile((x: Tensor) => cube(x.add(1)).neg());
      expect(await (await step(tensor([0, 1]))).toArray()).toEqual([-1, -8]);
      expect(await (await step(tensor([2, 3]))).toArray()).toEqual([-27, -64]);
      expect(onCpu).toEqual(["cube"]);
    });

    test("tells where the time of foreign ops went", async () => {
      const told: string[] = [];
      Object.assign(gpu, { hostWork: (work: string) => told.push(work) });
      await cube(tensor([2])).data();
      expect(told).toContain("cube on cpu");
    });

    test("frees what it made when the companion fails", async () => {
      const failing: OpDef<null> = { ...cubeOp, name: "failing", reference: () => bad() };
      const bad = (): never => {
        throw new Error("no convergence");
      };
      const before = gpu.memory().ownedBytes;
      await expect(apply(failing, [tensor([1, 2]).add(1)], null).data()).rejects.toThrow("no convergence");
      expect(gpu.memory().ownedBytes).toBe(before);
    });
  });
}
