import { expect, test } from "vitest";
import type { Home, LoopGroup, Value } from "@lowrank/tensor/backend";
import { partsOfLoop } from "./loop-parts.js";

let ids = 0;
const value = (home: Home): Value =>
  ({ id: ids++, dtype: "f32", dims: [8], size: 8, home, node: {} }) as unknown as Value;
const temp = (offset: number): Value => value({ kind: "temp", offset });

/** y[i] = x[i] + x[i + 1] for a ring of inputs; `over[i]` tells which input's memory y[i] takes. */
function ring(n: number, over: Readonly<Record<number, number>> = {}): LoopGroup {
  const inputs = Array.from({ length: n }, (_, i) => temp(256 * i));
  return {
    kind: "loop",
    name: "ring",
    space: [8],
    reduced: [false],
    loads: inputs.map((x) => ({ kind: "value", value: x, offset: 0, strides: [1] })),
    code: inputs.map((_, i) => ({
      op: { name: "add" },
      dtype: "f32",
      sourceDtypes: ["f32", "f32"],
      sources: [i, (i + 1) % n],
      arg: undefined,
    })),
    stores: inputs.map((_, i) => ({
      register: n + i,
      value: over[i] === undefined ? temp(256 * (n + i)) : inputs[over[i]]!,
    })),
    reductions: [],
  } as unknown as LoopGroup;
}

const offset = ({ home }: Value): number => (home.kind === "temp" ? home.offset : -1);
const places = ({ loads, stores }: LoopGroup): Set<number> =>
  new Set(
    [...loads.flatMap((l) => (l.kind === "value" ? [l.value] : [])), ...stores.map((s) => s.value)].map(
      offset,
    ),
  );

/** What each place holds after the parts have run, by numbers of which a place holds its offset before. */
function run(parts: readonly LoopGroup[]): Map<number, number> {
  const memory = new Map<number, number>();
  for (const { loads, code, stores } of parts) {
    const registers = loads.map((l) =>
      l.kind === "value" ? (memory.get(offset(l.value)) ?? offset(l.value)) : 0,
    );
    for (const { sources } of code) registers.push(sources.reduce((sum, s) => sum + registers[s]!, 0));
    for (const { register, value } of stores) memory.set(offset(value), registers[register]!);
  }
  return memory;
}

test("a loop that fits is left as it is", () => {
  const loop = ring(4);
  expect(partsOfLoop(loop, 8)).toEqual([loop]);
});

test("a loop that touches more places than can be bound is cut, and computes the same", () => {
  const loop = ring(9);
  const parts = partsOfLoop(loop, 8);
  expect(parts.length).toBeGreaterThan(1);
  for (const part of parts) expect(places(part).size).toBeLessThanOrEqual(8);
  expect(run(parts)).toEqual(run([loop]));
});

test("outputs that take an input's memory come after those that read it", () => {
  const loop = ring(9, { 0: 0, 3: 4 });
  const parts = partsOfLoop(loop, 8);
  expect(parts.length).toBeGreaterThan(1);
  expect(run(parts)).toEqual(run([loop]));
});

test("where each output takes what the next one reads, there is no order: the loop stays whole", () => {
  const loop = ring(6, { 0: 0, 1: 1, 2: 2, 3: 3, 4: 4, 5: 5 });
  expect(partsOfLoop(loop, 4)).toEqual([loop]);
});
