import { afterAll, beforeAll, describe, expect, test } from "vitest";
import type { Group, KernelGroup, Node, OpDef, Operand, Schedule, Value } from "@lowrank/tensor/backend";
import type { EmitContext } from "../../backend-wasm/src/emit.js";
import { WasmBuffer } from "../../backend-wasm/src/buffer.js";
import { type EmitGroup, emitGroup } from "../../backend-wasm/src/emit-group.js";
import { Plan } from "../../backend-wasm/src/executor.js";
import { Machine } from "../../backend-wasm/src/machine.js";
import { target } from "../../backend-wasm/src/target.js";
import { type Found, hostOf } from "../src/host.js";
import { useLibrary } from "../src/kernels.js";
import { type Lapack, lapackOf } from "../src/lapack.js";
import { GEMM, GRAM } from "../src/thread.js";
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

const turned = ({ dims: [batch, rows, columns], strides: [one, row, step], size }: Matrix): Matrix => ({
  dims: [batch!, columns!, rows!],
  strides: [one!, step!, row!],
  size,
});

describe.skipIf(noBlas)("calls of the library", () => {
  let machine: Machine;
  let emit: EmitGroup;
  beforeAll(async () => {
    const { host, lapack } = (await hostOf()) as Found;
    ({ emit } = useLibrary({ target, emit: emitGroup }, lapack, true));
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
      const ofItself = below(3) === 0;
      const [batch, M, K] = [1 + below(3), 1 + below(LARGEST), 1 + below(LARGEST)];
      const N = ofItself ? M : 1 + below(LARGEST);
      const left = matrix(batch, M, K, "plain");
      const parts = [
        left,
        ofItself ? turned(left) : matrix(batch, K, N, "plain"),
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
      const [a, second, c] = buffers.map((buffer) => buffer.at / width) as [number, number, number];
      const b = ofItself ? a : second;
      for (let i = 0; i < parts[0]!.size; i++) numbers[a + i] = below(9) - 4;
      for (let i = 0; i < parts[1]!.size; i++) numbers[b + i] = below(9) - 4;
      const before = [buffers[0]!, buffers[1]!].map((x) => machine.heap.u8.slice(x.at, x.at + x.bytes));

      const plan = new Plan(machine, scheduleOf(parts, wide ? "f64" : "f32", ofItself), emit, null);
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

test.skipIf(noBlas)("only a matrix by its own transpose is computed by half", async () => {
  const { lapack } = (await hostOf()) as Found;
  const commandOf = (ofItself: boolean, among: Lapack): number => {
    const left = matrix(2, 600, 300, "plain");
    const parts = [left, turned(left), matrix(2, 600, 600, "result")];
    const commands: number[] = [];
    const linked: EmitContext["linked"] = (_, command) => commands.push(command);
    const ctx = { pointer: () => 0, linked } as unknown as EmitContext;
    const { emit } = useLibrary({ target, emit: emitGroup }, among);
    emit(scheduleOf(parts, "f32", ofItself).groups[0]!, ctx);
    expect(commands).toHaveLength(1);
    return commands[0]!;
  };
  expect(commandOf(true, lapack)).toBe(GRAM);
  expect(commandOf(false, lapack)).toBe(GEMM);
  expect(commandOf(true, lapackOf([]))).toBe(GEMM);
});

function expectMark({ heap }: Machine, from: number, to: number, call: number): void {
  if (Buffer.compare(heap.u8.subarray(from, to), marks.subarray(0, to - from)) === 0) return;
  const at = heap.u8.subarray(from, to).findIndex((byte) => byte !== MARK);
  throw new Error(`call ${call} wrote at ${from + at}, outside of its operands`);
}

/** One product, of two leaves or of the first and what it is turned. */
function scheduleOf([a, b, c]: readonly Matrix[], dtype: "f32" | "f64", ofItself: boolean): Schedule {
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
  const left = operand(0, a!);
  const right = ofItself ? { ...left, dims: b!.dims, strides: b!.strides } : operand(1, b!);
  const group: Group & KernelGroup = {
    kind: "kernel",
    name: "matmul",
    op,
    arg: null,
    inputs: [left, right],
    outputs: [out],
  };
  return { groups: [group], values: [out], scalars: [], arenaBytes: 0, liveBytes: 0 };
}
