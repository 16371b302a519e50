import type { Each, Lapack, NativeKernel, Routine } from "@lowrank/backend-native/kernel";
import type { EmitContext, Kernel } from "@lowrank/backend-wasm/kernel";
import type { KernelGroup, Operand } from "@lowrank/tensor/backend";
import * as kernels from "../../assembly/kernels.js";
import { chunksOf, FAULT_BYTES, IN_SLICES, type Matrix, Program } from "../wasm/program.js";

type Arguments = readonly (string | number | Each)[];

/** Block of columns for which LAPACK gets room. */
export const BLOCK = 64;

/** Multiply-adds that are worth another part of right-hand sides, and how many of these one has at least. */
const PART_WORK = 1 << 21;
const PART_SIZE = 32;

/** Equal parts of right-hand sides that different threads may take. */
export function partsOf(sides: number, work: number): number {
  for (let parts = 8; parts > 1; parts--)
    if (sides % parts === 0 && sides / parts >= PART_SIZE && work / parts >= PART_WORK) return parts;
  return 1;
}

/** A program with calls of a library's routines, each of which takes one matrix with one thread. */
export class NativeProgram extends Program {
  private readonly chunks: number;

  /** @param work multiply-adds of one matrix */
  constructor(
    group: KernelGroup,
    ctx: EmitContext,
    private readonly lapack: Lapack,
    work: number,
  ) {
    super(group, ctx);
    this.chunks = chunksOf(this.slice, this.slice * work);
  }

  /** Room for a matrix of each; as column-major it has `rows` columns. None of a power of two apart, which share a set of the cache. */
  matrix(rows: number, columns: number): Matrix {
    const bytes = columns * this.bytes;
    return this.rows(rows, bytes % 1024 === 0 ? bytes + 64 : bytes);
  }

  /** The distance of its rows in elements. */
  ld({ row }: Matrix): number {
    return row / this.bytes;
  }

  /** Room that matrices use one after the other. */
  work(count: number, bytes = this.bytes): Each {
    const step = Math.ceil((count * bytes) / 64) * 64;
    return { at: this.ctx.workspace(step * this.chunks), step, perChunk: true };
  }

  integers(count: number): Matrix {
    return this.numbers(count, 4);
  }

  /** Calls a routine for each matrix of the batch that has no fault yet. */
  call(routine: Routine, args: Arguments): void {
    this.step((first, count) => {
      const skip = { at: this.ctx.offset(this.faults, FAULT_BYTES * first), step: FAULT_BYTES };
      const each = args.map((arg) => (typeof arg === "object" ? this.each(arg, first) : arg));
      const calls = { count, chunks: Math.min(this.chunks, count), skip };
      this.lapack.call(this.ctx, routine, this.dtype, each, calls);
    });
  }

  /** Calls a routine for parts of the only matrix, which are the steps of the arguments apart. */
  callParts(routine: Routine, args: Arguments, count: number): void {
    const skip = { at: this.faults, step: 0 };
    this.step(() => this.lapack.call(this.ctx, routine, this.dtype, args, { count, chunks: count, skip }));
  }

  private get dtype(): "f32" | "f64" {
    return this.bytes === 8 ? "f64" : "f32";
  }

  private each({ at, step, perChunk }: Each, first: number): Each {
    if (perChunk) return { at, step, perChunk };
    if (step & IN_SLICES) return { at, step: step - IN_SLICES };
    return { at: this.ctx.offset(at, first * step), step };
  }

  /** Makes a fault of an info above 0. */
  check(info: Matrix, fault: number, a?: Matrix): void {
    this.run(kernels.INFO, [info.at, info.step, fault, a?.at ?? 0, a?.step ?? 0, a?.row ?? 0]);
  }
}

/** Rows and columns of the matrices of input 0. */
export const shapeOf = (group: KernelGroup): [number, number] =>
  (group.inputs[0] as Operand).dims.slice(-2) as [number, number];

interface Way {
  readonly routines: readonly Routine[];
  /** Rows and columns from which the library is faster. */
  readonly least: number;
  emit(group: KernelGroup, ctx: EmitContext, lapack: Lapack): void;
}

const hasAll = (lapack: Lapack, routines: readonly Routine[]): boolean =>
  routines.every((routine) => lapack.has(routine, "f32") && lapack.has(routine, "f64"));

/** A kernel that leaves to WebAssembly what is smaller, and all where the library lacks a routine. */
export const nativeKernel =
  (wasm: Kernel, { routines, least, emit }: Way): NativeKernel =>
  (lapack, always) =>
    hasAll(lapack, routines)
      ? {
          ...wasm,
          emit(group, ctx) {
            const size = Math.min(...shapeOf(group));
            if (group.outputs[0]!.size > 0 && size >= (always ? 1 : least)) emit(group, ctx, lapack);
            else wasm.emit(group, ctx);
          },
        }
      : undefined;

/** The same for a composite, which is done in the ops that it means where it is smaller or the library lacks a routine. */
export const compositeKernel =
  ({ routines, least, emit }: Way): NativeKernel =>
  (lapack, always) =>
    hasAll(lapack, routines)
      ? {
          supports: ({ outputs: [x] }) => !x!.dims.includes(0) && x!.dims.at(-2)! >= (always ? 1 : least),
          emit: (group, ctx) => emit(group, ctx, lapack),
        }
      : undefined;
