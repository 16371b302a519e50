import type { Backend, Bindings, DeviceBuffer, Executable } from "../device.js";
import {
  type DType,
  decodeHost,
  encodeHost,
  hostArray,
  type HostArray,
  hostView,
  isFloat,
  roundTo,
} from "../dtype.js";
import { bug } from "../errors.js";
import type { Graph } from "../graph.js";
import type { OpDef } from "../op.js";
import { referenceOf } from "../reference/loops.js";
import { scalarFunction, wrapInteger } from "../reference/scalar.js";
import { explainSchedule } from "../schedule/explain.js";
import type {
  KernelGroup,
  Load,
  LoopGroup,
  Operand,
  Reduction,
  Schedule,
  Target,
  Value,
} from "../schedule/ir.js";
import { scalarProgram } from "../schedule/scalars.js";
import { schedule } from "../schedule/schedule.js";
import { contiguousStrides, type Dims, sizeOf } from "../shape.js";

interface HostBuffer extends DeviceBuffer {
  memory: ArrayBuffer;
}

export interface InterpreterOptions {
  /** Layout that kernels ask of their operands. Default: "contiguous". */
  layout?: "contiguous" | "any";
  maxInstructions?: number;
  maxBindings?: number;
}

/**
 * Runs schedules as they are, group by group, in plain loops over real memory: an arena in which temporaries overlap as
 * planned, poisoned before every run. It has no kernels for composites. It shows that fusion, views, in-place reuse and
 * the memory plan are right, without any backend.
 */
export function groupInterpreter(options: InterpreterOptions = {}): Backend {
  const target: Target = {
    supports: () => false,
    layout: () => options.layout ?? "contiguous",
    widens: (op) => op.name === "matmul",
    inPlace: (op) => (op.name === "updateSlice" ? 0 : -1),
    fusesEpilogue: ({ op }) => op.name === "matmul",
    maxBindings: options.maxBindings ?? 1000,
    maxInstructions: options.maxInstructions ?? 64,
  };
  let owned = 0;
  return {
    name: "group interpreter",
    cheapReads: true,
    allocate(bytes) {
      owned += bytes;
      return { bytes, memory: new ArrayBuffer(Math.ceil(bytes / 8) * 8) } as HostBuffer;
    },
    free(buffer) {
      owned -= buffer.bytes;
    },
    write(buffer, data, byteOffset = 0) {
      const bytes = new Uint8Array(data.buffer, data.byteOffset, data.byteLength);
      new Uint8Array((buffer as HostBuffer).memory).set(bytes, byteOffset);
    },
    read: (buffer, bytes) => Promise.resolve((buffer as HostBuffer).memory.slice(0, bytes)),
    prepare: (graph: Graph) => executable(schedule(graph, target)),
    memory: () => ({ ownedBytes: owned, arenaBytes: 0, peakBytes: 0 }),
    resetPeak() {},
    dispose() {},
  };
}

function executable(plan: Schedule): Executable {
  return {
    peakBytes: plan.arenaBytes,
    explain: () => explainSchedule(plan),
    dispose() {},
    run(bindings) {
      const arena = new ArrayBuffer(Math.ceil(plan.arenaBytes / 8) * 8 + 8);
      new Uint32Array(arena).fill(0x7fc12345); // NaN in f32, rubbish elsewhere
      const run = new Run(plan, bindings, arena);
      for (const group of plan.groups) {
        if (group.kind === "loop") run.loop(group);
        else run.kernel(group);
        if (group.kind === "kernel" && group.epilogue) run.loop(group.epilogue);
      }
    },
  };
}

class Run {
  private readonly scalars: Float64Array;
  /** What kernels hand to their epilogues. */
  private readonly products = new Map<Value, HostArray>();

  constructor(
    plan: Schedule,
    private readonly bindings: Bindings,
    private readonly arena: ArrayBuffer,
  ) {
    this.scalars = new Float64Array(plan.scalars.length);
    scalarProgram(plan.scalars)(bindings.scalars, this.scalars);
  }

  memory(value: Value): HostArray {
    const { home, dtype, size } = value;
    if (home.kind === "none") {
      const product = this.products.get(value) ?? hostArray(dtype, size);
      this.products.set(value, product);
      return product;
    }
    if (home.kind === "temp") return hostView(dtype, this.arena, home.offset, size);
    const bound = home.kind === "leaf" ? this.bindings.leaves[home.slot]! : this.bindings.roots[home.slot]!;
    if (ArrayBuffer.isView(bound)) return bound;
    return hostView(dtype, (bound as HostBuffer).memory, 0, size);
  }

  loop(group: LoopGroup): void {
    const strides = contiguousStrides(group.space);
    const size = sizeOf(group.space);
    const kept = group.space.filter((_, d) => !group.reduced[d]);
    const totals = group.reductions.map((r) => new Float64Array(sizeOf(kept)).fill(START[r.op]));
    // Values are read per element and written at once, as a fused loop does.
    const sources = group.loads.map((l) => (l.kind === "value" ? this.memory(l.value) : null));
    const targets = group.stores.map((s) => this.memory(s.value));
    const code = group.code.map(({ op, dtype, sourceDtypes, sources }) => ({
      f: formula(op, dtype, sourceDtypes),
      sources,
    }));
    for (let i = 0; i < size; i++) {
      const index = strides.map((s, d) => Math.floor(i / s) % group.space[d]!);
      const registers = group.loads.map((l, k) => this.read(l, sources[k]!, index));
      for (const instr of code) registers.push(instr.f(...instr.sources.map((r) => registers[r]!)));
      for (const [k, s] of group.stores.entries())
        write(targets[k]!, s.value.dtype, i, registers[s.register]!);
      const at = kept.length
        ? flatten(
            index.filter((_, d) => !group.reduced[d]),
            kept,
          )
        : 0;
      for (const [k, r] of group.reductions.entries()) {
        totals[k]![at] = combine(r, totals[k]![at]!, registers[r.register]!);
      }
    }
    for (const [k, r] of group.reductions.entries()) {
      this.memory(r.value).set(
        encodeHost(
          r.value.dtype,
          totals[k]!.map((x) => roundTo(r.dtype, x)),
        ),
      );
    }
  }

  private read(load: Load, memory: HostArray | null, index: readonly number[]): number {
    if (load.kind === "scalar") return this.scalars[load.slot]!;
    const at = load.offset + load.strides.reduce((sum, s, d) => sum + s * index[d]!, 0);
    return load.kind === "iota" ? at : decode(load.value.dtype, memory!, at);
  }

  kernel(group: KernelGroup): void {
    const { op, arg } = group;
    const reference = referenceOf(op) ?? bug(`kernel ${op.name} has no reference`);
    const inputs = group.inputs.map((input) =>
      "value" in input
        ? { dtype: input.dtype, dims: input.dims, data: this.gather(input) }
        : { dtype: input.dtype, dims: [], data: Float64Array.of(this.scalars[input.scalarSlot]!) },
    );
    const outs = reference(
      inputs,
      arg,
      group.outputs.map(({ dtype, dims }) => ({ dtype, dims })),
    );
    const list = outs instanceof Float64Array ? [outs] : outs;
    for (const [i, value] of group.outputs.entries()) {
      const numbers = (list as readonly Float64Array[])[i]!;
      const kept = isFloat(value.dtype) ? numbers : numbers.map((x) => wrapInteger(value.dtype, x));
      this.memory(value).set(encodeHost(value.dtype, kept));
    }
  }

  private gather({ value, dtype, dims, offset, strides }: Operand): Float64Array {
    const memory = this.memory(value);
    const size = sizeOf(dims);
    const out = new Float64Array(size);
    const steps = contiguousStrides(dims);
    for (let i = 0; i < size; i++) {
      let at = offset;
      for (const [d, s] of steps.entries()) at += (Math.floor(i / s) % dims[d]!) * strides[d]!;
      if (at < 0 || at >= value.size)
        bug(`operand of ${value.node.op.name} reads element ${at} of ${value.size}`);
      out[i] = decode(dtype, memory, at);
    }
    return out;
  }
}

const START = { sum: 0, prod: 1, max: Number.NEGATIVE_INFINITY, min: Number.POSITIVE_INFINITY };
const COMBINE = {
  sum: (a: number, b: number) => a + b,
  prod: (a: number, b: number) => a * b,
  max: Math.max, // NaN wins in both
  min: Math.min,
};

/** Integers wrap at every step, as registers do. */
function combine({ op, dtype }: Reduction, a: number, b: number): number {
  if (isFloat(dtype)) return COMBINE[op](a, b);
  return wrapInteger(dtype, op === "prod" ? Math.imul(a, b) : COMBINE[op](a, b));
}

function formula(op: OpDef, dtype: DType, sourceDtypes: readonly DType[]): (...x: number[]) => number {
  if (!op.scalar) bug(`element-wise ${op.name} has no scalar definition`);
  return scalarFunction(op, dtype, sourceDtypes, true);
}

function flatten(index: readonly number[], dims: Dims): number {
  const strides = contiguousStrides(dims);
  return index.reduce((sum, i, d) => sum + i * strides[d]!, 0);
}

const one = /* @__PURE__ */ new Map<DType, HostArray>();

function decode(dtype: DType, memory: HostArray, at: number): number {
  if (at < 0 || at >= memory.length) bug(`a loop reads element ${at} of ${memory.length}`);
  const cell = one.get(dtype) ?? hostArray(dtype, 1);
  one.set(dtype, cell);
  cell[0] = memory[at]!;
  return decodeHost(dtype, cell)[0]!;
}

function write(memory: HostArray, dtype: DType, at: number, value: number): void {
  memory[at] = encodeHost(dtype, [value])[0]!;
}
