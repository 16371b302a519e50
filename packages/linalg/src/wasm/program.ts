import type { KernelGroup, Operand, Value } from "@lowrank/tensor/backend";
import type { ArgWord, EmitContext, Fixup } from "@lowrank/backend-wasm/kernel";
import * as kernels from "../../assembly/kernels.js";
import { extension } from "../generated/kernels.js";
import { faultOf } from "./faults.js";

/** Matrices of a batch in memory: one after another `step` bytes on, strides in bytes. */
export interface Matrix {
  readonly at: Fixup;
  readonly step: number;
  readonly row: number;
  readonly column: number;
}

/** Which elements of an input are read. */
export const Part = { all: 0, lower: 1, upper: 2 } as const;

/** Multiply-adds of a part that is worth another thread: some 20 µs. */
const GRAIN = 1 << 17;
/** Work of a matrix up to which one thread does all of it before the next matrix, while it is in the cache. */
const SMALL = 1 << 21;
export const FAULT_BYTES = 32;
/** Marks the step of a room: it is counted within the slice. */
export const IN_SLICES = 1;
/** Bytes of rooms that a slice of a large batch is to do with. */
const SLICE_BYTES = 64 << 20;
/** Rooms of a decomposition, in matrices. */
const ROOMS = 12;

interface Command {
  readonly kernel: number;
  readonly words: readonly ArgWord[];
  readonly units: number;
  readonly work: number;
}

type Step = (first: number, count: number) => void;

/** The commands of one decomposition of a batch of matrices: a fixed list, made from shapes. */
export class Program {
  readonly bytes: number;
  readonly batch: number;
  /** Matrices that there is room for at once: slices of the batch follow one another. */
  protected readonly slice: number;
  private readonly wide: number;
  private readonly type: number;
  protected readonly faults: Fixup;
  private readonly steps: (Command[] | Step)[] = [];
  private inspected = false;

  constructor(
    protected readonly group: KernelGroup,
    protected readonly ctx: EmitContext,
  ) {
    const { dims, dtype } = this.group.inputs[0] as Operand;
    this.batch = dims.slice(0, -2).reduce((a, b) => a * b, 1);
    this.wide = Number(dtype === "f64");
    this.bytes = this.wide ? 8 : 4;
    const sides = [...this.group.outputs, this.group.inputs[0] as Operand].flatMap(({ dims }) =>
      dims.slice(-2),
    );
    const largest = Math.max(...sides) * Math.max(...dims.slice(-2)) * this.bytes;
    this.slice = Math.max(1, Math.min(this.batch, Math.floor(SLICE_BYTES / (ROOMS * largest + 1))));
    this.type = this.wide + 2 * this.slice;
    this.faults = ctx.workspace(FAULT_BYTES * this.batch);
  }

  /** Input `index`, which is contiguous. */
  input(index: number): Matrix {
    const input = this.group.inputs[index] as Operand;
    return this.contiguous(this.ctx.pointer(input), input.dims);
  }

  output(index: number): Matrix {
    const output = this.group.outputs[index] as Value;
    return this.contiguous(this.ctx.pointer(output), output.dims);
  }

  /** Output `index`, which has one axis less than matrices, or two: a row of each. */
  list(index: number): Matrix {
    const { dims, dtype } = this.group.outputs[index] as Value;
    const bytes = dtype === "f64" ? 8 : 4;
    const size = dims.reduce((a, b) => a * b, 1) / this.batch;
    return { at: this.ctx.pointer(this.group.outputs[index]!), step: size * bytes, row: 0, column: bytes };
  }

  /** Room for a matrix of each, rows a whole number of vectors apart. */
  room(rows: number, columns: number, bytes = this.bytes): Matrix {
    const row = Math.ceil((columns * bytes) / 16) * 16;
    return this.inSlices(rows * row, row, bytes);
  }

  /** Room for rows of so many bytes. */
  rows(count: number, row: number): Matrix {
    return this.inSlices(count * row, row, this.bytes);
  }

  private inSlices(bytes: number, row: number, column: number): Matrix {
    const step = Math.max(16, Math.ceil(bytes / 16) * 16);
    return { at: this.ctx.workspace(step * this.slice), step: step + IN_SLICES, row, column };
  }

  /** `count` numbers of `bytes` for each matrix. */
  numbers(count: number, bytes = 8): Matrix {
    return this.room(1, count, bytes);
  }

  /** The part of `m` that begins at an element. */
  from(m: Matrix, row: number, column: number): Matrix {
    return { ...m, at: this.ctx.offset(m.at, row * m.row + column * m.column) };
  }

  data(words: readonly number[]): Fixup {
    return this.ctx.data(words);
  }

  scratch(bytes: number): void {
    this.ctx.scratch(bytes);
  }

  /**
   * @param units parts of one matrix that may run on different threads
   * @param work multiply-adds of one matrix
   */
  run(kernel: number, words: readonly ArgWord[], units = 1, work = 0): void {
    if (units === 0) return;
    const last = this.steps.at(-1);
    if (Array.isArray(last)) last.push({ kernel, words, units, work });
    else this.steps.push([{ kernel, words, units, work }]);
  }

  /** What appends other commands for some matrices of the batch. */
  protected step(step: Step): void {
    this.steps.push(step);
  }

  /** Refuses what is not finite or, if asked, not symmetric; `factor` gets the power of two that brings it to size 1. */
  inspect(
    a: Matrix,
    rows: number,
    columns: number,
    { part = 0, symmetric = false, factor }: { part?: number; symmetric?: boolean; factor?: Matrix } = {},
  ): void {
    const work = rows * columns;
    const parts = work < 2 * GRAIN ? 0 : Math.ceil(rows / 64);
    const found = this.numbers(2 * parts);
    const how = [part, Number(symmetric), Number(!this.inspected), factor?.at ?? 0];
    const words = [a.at, a.step, rows, columns, ...how, found.at, found.step, parts];
    this.inspected = true;
    if (parts > 0) this.run(kernels.INSPECT_PART, words, parts, work);
    this.run(kernels.INSPECT, words, 1, parts > 0 ? 0 : work);
  }

  copy(
    to: Matrix,
    from: Matrix,
    rows: number,
    columns: number,
    {
      transpose = false,
      part = 0,
      factor,
      inverse = false,
    }: { transpose?: boolean; part?: number; factor?: Matrix; inverse?: boolean } = {},
  ): void {
    const words = [to.at, to.step, to.row, from.at, from.step, from.row, rows, columns];
    const how = [Number(transpose), part, factor?.at ?? 0, Number(inverse)];
    this.run(kernels.COPY, [...words, ...how], Math.max(1, Math.ceil(rows / 64)), rows * columns);
  }

  identity(to: Matrix, rows: number, columns: number): void {
    const words = [to.at, to.step, to.row, rows, columns];
    this.run(kernels.IDENTITY, words, Math.max(1, Math.ceil(rows / 64)), rows * columns);
  }

  /** c += alpha a b, or its part on and below the diagonal; `kernel`, which does more, has the words `more` too. */
  product(
    c: Matrix,
    a: Matrix,
    b: Matrix,
    [M, N, K]: readonly [number, number, number],
    {
      alpha = 1,
      lower = false,
      kernel = kernels.PRODUCT,
      more = [],
    }: { alpha?: number; lower?: boolean; kernel?: number; more?: readonly number[] } = {},
  ): void {
    if (M <= 0 || N <= 0 || K <= 0) return;
    const [rows, columns] = blockOf(M, N);
    // biome-ignore format: in the order of the words
    const words = [
      c.at, c.step, c.row, a.at, a.step, a.row, a.column, b.at, b.step, b.row, b.column, M, N, K,
      alpha, Number(lower), rows, columns, ...more,
    ];
    const units = Math.ceil(M / rows) * Math.ceil(N / columns);
    this.run(kernel, words, units, (M * N * K) / (lower ? 2 : 1));
  }

  /** Appends the commands to the plan. */
  finish(where: string): void {
    const { ctx, batch, slice, faults, type } = this;
    const all = this.steps.flatMap((step) => (typeof step === "function" ? [] : step));
    const together = slice > 1 && all.reduce((sum, command) => sum + command.work, 0) <= SMALL;
    const steps = this.steps.map((step) => (typeof step === "function" ? step : this.append(step, together)));
    for (let first = 0; first < batch; first += slice)
      for (const step of steps) step(first, Math.min(slice, batch - first));
    const lead = (this.group.inputs[0] as Operand).dims.slice(0, -2);
    const status = ctx.status((words) => faultOf(where, lead, words));
    ctx.linked(extension, kernels.REPORT, [type, 1, 1, faults, status, batch], 1);
  }

  private append(commands: readonly Command[], together: boolean): Step {
    const { ctx, faults, type } = this;
    const one = ({ kernel, words, units, work }: Command, first: number, count: number): void =>
      ctx.linked(
        extension,
        kernel + 256 * first,
        [type, count, units, faults, ...words],
        chunksOf(count * units, count * work),
      );
    if (!together || commands.length === 0)
      return (first, count) => {
        for (const command of commands) one(command, first, count);
      };
    const blocks = commands.map(({ kernel, words, units }) =>
      ctx.data([0, kernel, type, 1, units, faults, ...words]),
    );
    const work = commands.reduce((sum, command) => sum + command.work, 0);
    const list = { kernel: kernels.LIST, words: [ctx.data(blocks), blocks.length], units: 1, work };
    return (first, count) => one(list, first, count);
  }

  private contiguous(at: Fixup, dims: readonly number[]): Matrix {
    const [rows, columns] = dims.slice(-2) as [number, number];
    return { at, step: rows * columns * this.bytes, row: columns * this.bytes, column: this.bytes };
  }
}

/** The same matrices with rows for columns. */
export const transposed = (m: Matrix): Matrix => ({ ...m, row: m.column, column: m.row });

export const chunksOf = (units: number, work: number): number =>
  Math.max(1, Math.min(units, 4096, Math.floor(work / GRAIN)));

/** Rows and columns of a block of a product: some twenty blocks of a large one, each worth packing for. */
function blockOf(M: number, N: number): [number, number] {
  const columns = Math.min(N, N >= 512 ? 256 : 128);
  const rows = Math.min(M, Math.max(96, 96 * Math.ceil((M * N) / (24 * 96 * columns))));
  return [rows, columns];
}
