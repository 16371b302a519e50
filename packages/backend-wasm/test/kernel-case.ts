import { type DType, type OpDef, roundTo } from "@lowrank/tensor/backend";
import { expect } from "vitest";
import type { Kernel } from "../src/emit.js";
import { kernels } from "../src/kernels/table.js";
import { Machine } from "../src/machine.js";
import { runKernel, type TestInput, type TestOutput } from "./run-kernel.js";

type Input = TestInput | { readonly scalar: number; readonly dtype: DType };

/** Numbers in -1 .. 1 that repeat from run to run. */
export class Numbers {
  constructor(private seed: number) {}

  next(): number {
    this.seed = (Math.imul(this.seed, 1664525) + 1013904223) >>> 0;
    return this.seed / 2 ** 31 - 1;
  }

  list(count: number, dtype: DType = "f32", scale = 1): number[] {
    return Array.from({ length: count }, () => roundTo(dtype, this.next() * scale));
  }

  /** Integers from 0 to below n. */
  integers(count: number, n: number): number[] {
    return Array.from({ length: count }, () => Math.floor(((this.next() + 1) / 2) * n));
  }
}

export const sizeOf = (dims: readonly number[]): number => dims.reduce((n, d) => n * d, 1);

/** A row-major operand. */
export const dense = (dtype: DType, dims: readonly number[], numbers: ArrayLike<number>): TestInput => ({
  dtype,
  dims,
  numbers,
});

/** One thread and two: results must be the same bits. */
export class Machines {
  private constructor(
    private readonly one: Machine,
    private readonly two: Machine,
  ) {}

  static async create(): Promise<Machines> {
    const options = { maxMemoryBytes: 2 ** 30 };
    return new Machines(
      await Machine.create({ ...options, threads: 1 }),
      await Machine.create({ ...options, threads: 2 }),
    );
  }

  dispose(): void {
    this.one.dispose();
    this.two.dispose();
  }

  run(name: string, arg: unknown, inputs: readonly Input[], outputs: readonly TestOutput[]): Float64Array[] {
    const op: OpDef = { name, kind: "kernel", infer: () => outputs };
    const kernel: Kernel = kernels[name]!;
    const [a, b] = [this.one, this.two].map((machine) => {
      const run = runKernel(machine, kernel, op, arg, inputs, outputs);
      run.dispose();
      return run;
    });
    a!.raw.forEach((raw, i) => {
      expect(
        Buffer.from(raw.buffer).equals(Buffer.from(b!.raw[i]!.buffer)),
        `${name} on two threads: same bits`,
      ).toBe(true);
    });
    return a!.results;
  }
}

/** Relative step of a dtype. */
export const stepOf = (dtype: DType): number =>
  dtype === "f32"
    ? 2 ** -23
    : dtype === "f16"
      ? 2 ** -10
      : dtype === "bf16"
        ? 2 ** -7
        : dtype === "f64"
          ? 2 ** -52
          : 0;

/** Every number within `absolute + relative · |want|`; equal infinities and NaN in the same places. */
export function expectClose(
  what: string,
  got: ArrayLike<number>,
  want: ArrayLike<number>,
  relative: number,
  absolute = 0,
): void {
  expect(got.length, what).toBe(want.length);
  for (let i = 0; i < want.length; i++) {
    const [g, w] = [got[i]!, want[i]!];
    const fine = Object.is(g, w) || g === w || Math.abs(g - w) <= absolute + relative * Math.abs(w);
    if (!fine) throw new Error(`${what}: element ${i} of ${want.length}: got ${g}, want ${w}`);
  }
}
