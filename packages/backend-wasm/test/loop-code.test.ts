import { wasm } from "@lowrank/backend-wasm";
import type { Backend, Tensor } from "@lowrank/tensor";
import * as t from "@lowrank/tensor";
import { checkGraph, checkOp, drawCase, opCases, Rng, runOn, type Wanted } from "@lowrank/tensor/testing";
import { afterEach, describe, expect, test, vi } from "vitest";
import { Machine } from "../src/machine.js";
import { CODE_WORTH } from "../src/loop-code.js";
import { backendOf } from "./accuracy.js";

const { elements } = CODE_WORTH;
afterEach(() => {
  CODE_WORTH.elements = elements;
});

/** The bits of results, with code for every loop and with none. */
async function bothWays(
  build: () => readonly Wanted[],
  make: () => Promise<Backend> = () => wasm({ threads: 1 }),
): Promise<[unknown, unknown]> {
  const found: unknown[] = [];
  const code = vi.spyOn(Machine.prototype, "code");
  for (const worth of [0, Number.POSITIVE_INFINITY]) {
    CODE_WORTH.elements = worth;
    code.mockClear();
    const backend = await make();
    const results = await runOn(backend, build);
    found.push(results.map(({ data }) => Array.from(data, (x) => (Number.isNaN(x) ? "nan" : x))));
    backend.dispose();
    const numbers = code.mock.results.map(({ value }) => value as number | null);
    expect(numbers.length > 0).toBe(worth === 0);
    expect(numbers).not.toContain(null);
  }
  code.mockRestore();
  return [found[0], found[1]];
}

const numbers = (n: number, seed: number): Tensor => {
  const rng = new Rng(seed);
  const hard = [0, -0, Number.NaN, Number.POSITIVE_INFINITY, Number.NEGATIVE_INFINITY, 1e-40, 3e38, -1];
  return t.fromHost(
    "f32",
    [n],
    Float32Array.from({ length: n }, (_, i) => (i % 11 === 3 ? rng.pick(hard) : rng.between(-3, 3))),
  );
};

const F32: Record<string, (a: Tensor, b: Tensor) => Tensor> = {
  add: t.add,
  sub: t.sub,
  mul: t.mul,
  div: t.div,
  maximum: t.maximum,
  minimum: t.minimum,
  neg: t.neg,
  abs: t.abs,
  floor: t.floor,
  ceil: t.ceil,
  trunc: t.trunc,
  round: t.round,
  sqrt: t.sqrt,
  rsqrt: t.rsqrt,
  reciprocal: t.reciprocal,
  where: (a, b) => t.where(t.lt(a, b), a, b),
  compare: (a, b) => t.where(t.le(a, b), t.eq(a, b), t.ne(a, b)).astype("f32"),
  toInteger: (a) => a.astype("i32").astype("f32"),
  toUnsigned: (a) => a.astype("u32").astype("f32"),
};
const I32: Record<string, (a: Tensor, b: Tensor) => Tensor> = {
  add: t.add,
  sub: t.sub,
  mul: t.mul,
  maximum: t.maximum,
  minimum: t.minimum,
  neg: t.neg,
  abs: t.abs,
  compare: (a, b) => t.where(t.lt(a, b), t.le(a, b), t.ne(a, b)).astype("i32"),
};

describe("code made for a loop gives the bits of the interpreter", () => {
  for (const n of [7, 16, 1003, 5000]) {
    test(`every operation of f32, ${n} elements`, async () => {
      const [x, y] = [numbers(n, 1), numbers(n, 2)];
      for (const [name, f] of Object.entries(F32)) {
        const [code, plain] = await bothWays(() => [t.mul(f(t.add(x, 0.5), y), 1.5)]);
        expect(code, name).toEqual(plain);
      }
    });
  }

  test("every operation of integers", async () => {
    const whole = (seed: number) => numbers(1003, seed).mul(1e9).astype("i32");
    for (const dtype of ["i32", "u32"] as const) {
      const [x, y] = [whole(3).astype(dtype), whole(4).astype(dtype)];
      for (const [name, f] of Object.entries(I32)) {
        const [code, plain] = await bothWays(() => [t.add(f(t.add(x, 1), y).astype(dtype), 3)]);
        expect(code, `${name} of ${dtype}`).toEqual(plain);
      }
    }
  });

  test("rows and columns that repeat, transposed operands, several results, and a state in place", async () => {
    const x = numbers(61 * 130, 5).reshape([61, 130]);
    const [row, column] = [numbers(130, 6), numbers(61, 7).reshape([61, 1])];
    const turned = t.transpose(numbers(130 * 61, 8).reshape([130, 61]));
    const build = () => {
      const state = t.parameter(x);
      const a = state.mul(row).add(column);
      const b = t.sub(t.mul(a, turned), t.exp(a.mul(0.01)));
      return [state.assign(a.mul(2).add(b)), b, t.sum(t.mul(b, a), [1]), t.sum(t.add(b, a), [0])];
    };
    for (const make of [() => wasm({ threads: 3 }), () => backendOf("relaxed"), () => backendOf("plain")]) {
      const [code, plain] = await bothWays(build, make);
      expect(code).toEqual(plain);
    }
  });
});

test("a copy that a loop stores does not overtake code that reads what was there", async () => {
  const build = () => {
    const [p, q] = [t.parameter(numbers(1003, 9)), t.parameter(numbers(1003, 10))];
    return [q.assign(p), p.assign(q.mul(2).add(p).mul(q))];
  };
  const [code, plain] = await bothWays(build);
  expect(code).toEqual(plain);
  // seeds of random graphs in which such a copy was once done too early
  CODE_WORTH.elements = 0;
  const backend = await wasm({ threads: 1 });
  for (const seed of [5310, 5311, 5312]) await checkGraph(backend, seed);
  backend.dispose();
});

test("with code for every loop the ops and random graphs agree with the reference, on several threads too", {
  timeout: 120_000,
}, async () => {
  CODE_WORTH.elements = 0;
  const backend = await wasm({ threads: 2 });
  for (const one of opCases()) {
    for (const dtype of one.dtypes) await checkOp(backend, drawCase(one, dtype, 3));
  }
  for (let seed = 1; seed <= 400; seed++) await checkGraph(backend, seed);
  backend.dispose();
});

describe("the machine", () => {
  const stretch = (slot: number) => ({
    inputs: [{ slot, step: "row" as const }],
    steps: [{ op: 2, sources: [0, 0] }],
    outputs: [1],
  });

  test("makes the same code once, and none when its room is used up", async () => {
    const machine = await Machine.create({ threads: 1, maxMemoryBytes: 2 ** 26 });
    const first = machine.code(stretch(0));
    expect(first).not.toBeNull();
    expect(machine.code(stretch(0))).toBe(first);
    expect(machine.code(stretch(1))).not.toBe(first);
    let made = 2;
    while (machine.code(stretch(made)) !== null) made++;
    expect(made).toBeGreaterThan(200);
    expect(machine.code(stretch(0))).toBe(first);
    machine.dispose();
  });
});
