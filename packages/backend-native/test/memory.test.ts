import { afterAll, beforeAll, describe, expect, test } from "vitest";
import type { Group, KernelGroup, Node, OpDef, Operand, Schedule, Value } from "@lowrank/tensor/backend";
import { WasmBuffer } from "../../backend-wasm/src/buffer.js";
import { emitGroup } from "../../backend-wasm/src/emit-group.js";
import { Plan } from "../../backend-wasm/src/executor.js";
import { Machine } from "../../backend-wasm/src/machine.js";
import { target } from "../../backend-wasm/src/target.js";
import { type Found, hostOf } from "../src/host.js";
import { lapackOf } from "../src/lapack.js";
import { useLibrary } from "../src/kernels.js";
import { noBlas } from "./blas.js";

const CALLS = 10_000;
const WARM = 3000;
const GUARD = 128;
const MARK = 0xa5;
const LARGEST = 70;
const BYTES = 3 * (GUARD + 3 * (LARGEST + 4) ** 2 * 8) + GUARD;
const marks = new Uint8Array(BYTES).fill(MARK);

let seed = 7;
const below = (n: number): number => {
  seed = (Math.imul(seed, 1664525) + 1013904223) >>> 0;
  return Math.floor((seed / 2 ** 32) * n);
};

const op: OpDef<null> = { name: "matmul", kind: "kernel", infer: () => [] };
const NO_NODE = null as unknown as Node;
const { emit } = useLibrary({ target, emit: emitGroup }, lapackOf([]), true);

/** A batch of matrices in memory, as it is or turned, with a gap behind each row. */
interface Matrix {
  readonly dims: number[];
  readonly strides: number[];
  readonly size: number;
}

function matrix(batch: number, rows: number, columns: number, kind: "plain" | "result"): Matrix {
  const turned = kind === "plain" && below(2) === 1;
  const gap = kind === "plain" ? below(4) : 0;
  const [lines, length] = turned ? [columns, rows] : [rows, columns];
  const one = (lines - 1) * (length + gap) + length;
  const inner = turned ? [1, length + gap] : [length + gap, 1];
  return { dims: [batch, rows, columns], strides: [one, ...inner], size: batch * one };
}

describe.skipIf(noBlas)("calls of the library", () => {
  let machine: Machine;
  beforeAll(async () => {
    const { host } = (await hostOf()) as Found;
    machine = await Machine.create({ threads: 2, maxMemoryBytes: 2 ** 28, host });
  });
  afterAll(() => machine.dispose());

  test(`${CALLS} of random shapes write nothing beside their result and leave no memory behind`, {
    timeout: 300_000,
  }, () => {
    const place = machine.heap.allocate(BYTES, "test");
    const resident: number[] = [];
    for (let call = 0; call < CALLS; call++) {
      const wide = below(4) === 0;
      const [batch, M, K, N] = [1 + below(3), 1 + below(LARGEST), 1 + below(LARGEST), 1 + below(LARGEST)];
      const parts = [
        matrix(batch, M, K, "plain"),
        matrix(batch, K, N, "plain"),
        matrix(batch, M, N, "result"),
      ];
      const numbers = wide ? machine.heap.f64 : machine.heap.f32;
      const width = wide ? 8 : 4;
      machine.heap.u8.set(marks, place);
      let at = place + GUARD;
      const buffers = parts.map(({ size }) => {
        const buffer = new WasmBuffer(size * width, at);
        at += Math.ceil((size * width) / 8) * 8 + GUARD;
        return buffer;
      });
      const [a, b, c] = buffers.map((buffer) => buffer.at / width) as [number, number, number];
      for (let i = 0; i < parts[0]!.size; i++) numbers[a + i] = below(9) - 4;
      for (let i = 0; i < parts[1]!.size; i++) numbers[b + i] = below(9) - 4;
      const before = [buffers[0]!, buffers[1]!].map((x) => machine.heap.u8.slice(x.at, x.at + x.bytes));

      const plan = planOf(machine, parts, wide ? "f64" : "f32");
      plan.run({ leaves: [buffers[0]!, buffers[1]!], scalars: new Float64Array(0), roots: [buffers[2]!] });
      plan.dispose();

      // Outside of the operands every byte is as it was, and so are the operands that are read.
      let clean = place;
      for (const [i, buffer] of buffers.entries()) {
        expectMark(machine, clean, buffer.at, call);
        clean = buffer.at + buffer.bytes;
        if (i < 2) expect(Buffer.compare(machine.heap.u8.subarray(buffer.at, clean), before[i]!)).toBe(0);
      }
      expectMark(machine, clean, place + BYTES, call);
      // One element of each result, exactly: they are sums of small integers.
      const [n, i, j] = [below(batch), below(M), below(N)];
      const [sa, sb] = [parts[0]!.strides, parts[1]!.strides] as [number[], number[]];
      let want = 0;
      for (let k = 0; k < K; k++)
        want +=
          numbers[a + n * sa[0]! + i * sa[1]! + k * sa[2]!]! *
          numbers[b + n * sb[0]! + k * sb[1]! + j * sb[2]!]!;
      expect(numbers[c + (n * M + i) * N + j]! + 0).toBe(want); // some libraries give -0
      if (call % 1000 === 999) resident.push(process.memoryUsage().rss / 2 ** 20);
    }
    machine.heap.free(place);
    const settled = resident.slice(WARM / 1000);
    expect(
      Math.min(...settled.slice(-2)) - Math.max(...settled.slice(0, 2)),
      resident.join(" "),
    ).toBeLessThan(8);
  });
});

function expectMark({ heap }: Machine, from: number, to: number, call: number): void {
  if (Buffer.compare(heap.u8.subarray(from, to), marks.subarray(0, to - from)) === 0) return;
  const at = heap.u8.subarray(from, to).findIndex((byte) => byte !== MARK);
  throw new Error(`call ${call} wrote at ${from + at}, outside of its operands`);
}

function planOf(machine: Machine, [a, b, c]: readonly Matrix[], dtype: "f32" | "f64"): Plan {
  const value = (id: number, { dims, size }: Matrix, home: Value["home"]): Value => ({
    id,
    dtype,
    dims,
    size,
    home,
    node: NO_NODE,
  });
  const operand = (slot: number, m: Matrix): Operand => ({
    value: value(slot, m, { kind: "leaf", slot }),
    dtype,
    dims: m.dims,
    strides: m.strides,
    offset: 0,
  });
  const out = value(2, c!, { kind: "root", slot: 0 });
  const group: Group & KernelGroup = {
    kind: "kernel",
    name: "matmul",
    op,
    arg: null,
    inputs: [operand(0, a!), operand(1, b!)],
    outputs: [out],
  };
  const schedule: Schedule = { groups: [group], values: [out], scalars: [], arenaBytes: 0, liveBytes: 0 };
  return new Plan(machine, schedule, emit, null);
}
