import {
  type Bindings,
  bug,
  type DType,
  DeviceError,
  type Executable,
  explainSchedule,
  type Group,
  type HostArray,
  type Schedule,
  scalarProgram,
} from "@lowrank/tensor/backend";
import type { EmitContext } from "./emit.js";
import type { GpuContext } from "./context.js";
import { GpuMemory } from "./memory.js";
import type { Pipeline } from "./pipelines.js";
import {
  type Binding,
  type Dispatch,
  MAX_SCALARS,
  PARAM_WORDS,
  paddedBytes,
  placeOf,
  type Scratch,
} from "./shader.js";

const ALIGN = 256;
const ceilTo = (n: number, step: number): number => Math.ceil(n / step) * step;
const SLOT = PARAM_WORDS * 4;
/** Bind groups kept for each dispatch. */
const MOST_GROUPS = 8;

interface Step {
  readonly dispatch: Dispatch;
  readonly pipeline: Pipeline;
  /** Leaf and root slots whose buffers name the bind group. */
  readonly slots: readonly { kind: "leaf" | "root"; slot: number }[];
  readonly groups: Map<string, GPUBindGroup>;
  readonly grid: readonly [number, number];
}

/** A plan on the GPU: a list of dispatches in one pass, with their parameters in one uniform buffer. */
export class Plan implements Executable {
  readonly peakBytes: number;
  private readonly steps: Step[];
  private readonly uniforms: GPUBuffer;
  private readonly uniformGroup: GPUBindGroup;
  private readonly scalarBuffer: GPUBuffer;
  private readonly scalarWords = new Uint32Array(MAX_SCALARS);
  private scalarsWritten = false;
  private readonly scalarValues: Float64Array;
  private readonly computeScalars: ReturnType<typeof scalarProgram>;
  private readonly arenaBytes: number;
  /** Copies of host numbers, by leaf slot. */
  private readonly staged = new Map<number, GpuMemory>();
  private disposed = false;

  constructor(
    private readonly gpu: GpuContext,
    private readonly schedule: Schedule,
    emit: (group: Group, context: EmitContext) => void,
  ) {
    const dispatches: Dispatch[] = [];
    const temporaries = ceilTo(schedule.arenaBytes, ALIGN);
    let scratchBytes = 0;
    for (const group of schedule.groups) {
      let at = temporaries;
      emit(group, {
        dispatch: (d) => {
          if (d.workgroups > 0) dispatches.push(d);
        },
        scratch(bytes): Scratch {
          const scratch: Scratch = { kind: "scratch", offset: at, bytes };
          at += ceilTo(Math.max(16, bytes), ALIGN);
          scratchBytes = Math.max(scratchBytes, at - temporaries);
          return scratch;
        },
      });
    }
    if (schedule.scalars.length > MAX_SCALARS) bug(`a plan has more than ${MAX_SCALARS} scalars`);
    this.arenaBytes = temporaries + scratchBytes;
    this.peakBytes = this.arenaBytes;
    this.scalarValues = new Float64Array(schedule.scalars.length);
    this.computeScalars = scalarProgram(schedule.scalars);
    const { device, pipelines } = gpu;
    this.steps = dispatches.map((dispatch): Step => {
      const slots = dispatch.bindings.flatMap(({ of }) => {
        const place = placeOf(of);
        return place.kind === "arena" ? [] : [place];
      });
      return {
        dispatch,
        pipeline: pipelines.of(dispatch),
        slots,
        groups: new Map(),
        grid: gridOf(dispatch.workgroups, device.limits.maxComputeWorkgroupsPerDimension),
      };
    });
    const words = new Uint32Array(Math.max(1, this.steps.length) * PARAM_WORDS);
    this.steps.forEach(({ dispatch }, i) => words.set(dispatch.params, i * PARAM_WORDS));
    const usage = 0x40 | 0x08; // UNIFORM | COPY_DST
    this.uniforms = device.createBuffer({ size: words.byteLength, usage });
    device.queue.writeBuffer(this.uniforms, 0, words);
    this.scalarBuffer = device.createBuffer({ size: MAX_SCALARS * 4, usage });
    this.uniformGroup = device.createBindGroup({
      layout: pipelines.uniforms,
      entries: [
        { binding: 0, resource: { buffer: this.uniforms, size: SLOT } },
        { binding: 1, resource: { buffer: this.scalarBuffer } },
      ],
    });
  }

  async run(bindings: Bindings): Promise<void> {
    if (this.disposed) bug("a plan ran after dispose");
    const { gpu } = this;
    gpu.expectAlive();
    await Promise.all(this.steps.map(({ pipeline }) => pipeline.compiled ?? pipeline.ready));
    await gpu.turn();
    const leaves = bindings.leaves.map((leaf, slot) => this.onDevice(leaf, slot));
    gpu.ensureArena(this.arenaBytes);
    await gpu.pool.settled();
    this.writeScalars(bindings.scalars);
    gpu.submit((encoder) => this.encode(encoder, leaves, bindings.roots));
  }

  explain(): string {
    return explainSchedule(this.schedule);
  }

  dispose(): void {
    if (this.disposed) return;
    this.disposed = true;
    this.uniforms.destroy();
    this.scalarBuffer.destroy();
    for (const memory of this.staged.values()) this.gpu.pool.free(memory);
  }

  private encode(encoder: GPUCommandEncoder, leaves: readonly GpuMemory[], roots: Bindings["roots"]): void {
    const { profiler } = this.gpu;
    let pass = profiler ? null : encoder.beginComputePass();
    this.steps.forEach((step, i) => {
      const timed = profiler?.begin(encoder, step.dispatch);
      const at = timed ?? pass!;
      at.setPipeline(step.pipeline.compiled!);
      at.setBindGroup(0, this.groupOf(step, leaves, roots));
      at.setBindGroup(1, this.uniformGroup, [i * SLOT]);
      at.dispatchWorkgroups(...step.grid);
      timed?.end();
    });
    pass?.end();
    pass = null;
    profiler?.finish(encoder);
  }

  private groupOf(step: Step, leaves: readonly GpuMemory[], roots: Bindings["roots"]): GPUBindGroup {
    const memoryOf = (kind: "leaf" | "root", slot: number): GpuMemory =>
      kind === "leaf" ? leaves[slot]! : expectMemory(roots[slot]);
    let key = `${this.gpu.arenaId}`;
    for (const { kind, slot } of step.slots) key += `,${memoryOf(kind, slot).id}`;
    let group = step.groups.get(key);
    if (!group) {
      if (step.groups.size >= MOST_GROUPS) step.groups.delete(step.groups.keys().next().value!);
      group = this.gpu.device.createBindGroup({
        layout: step.pipeline.layout,
        entries: step.dispatch.bindings.map((binding, index) => ({
          binding: index,
          resource: this.resource(binding, memoryOf),
        })),
      });
      step.groups.set(key, group);
    }
    return group;
  }

  private resource(
    { of }: Binding,
    memoryOf: (kind: "leaf" | "root", slot: number) => GpuMemory,
  ): GPUBufferBinding {
    const size = paddedBytes(of);
    const place = placeOf(of);
    if (place.kind === "arena") return { buffer: this.gpu.arena!, offset: place.offset, size };
    return { buffer: memoryOf(place.kind, place.slot).buffer!, size };
  }

  private onDevice(leaf: Bindings["leaves"][number], slot: number): GpuMemory {
    if (!ArrayBuffer.isView(leaf)) return expectMemory(leaf);
    const host = leaf as HostArray;
    let memory = this.staged.get(slot);
    if (!memory) this.staged.set(slot, (memory = this.gpu.pool.allocate(host.byteLength)));
    this.gpu.write(memory.buffer!, host, 0);
    return memory;
  }

  private writeScalars(slots: Float64Array): void {
    const { schedule, scalarValues, scalarWords } = this;
    if (scalarValues.length === 0) return;
    this.computeScalars(slots, scalarValues);
    const floats = new Float32Array(scalarWords.buffer);
    let changed = !this.scalarsWritten;
    schedule.scalars.forEach(({ dtype }, i) => {
      const before = scalarWords[i]!;
      if (isFloatDType(dtype)) floats[i] = scalarValues[i]!;
      else scalarWords[i] = scalarValues[i]! >>> 0;
      changed ||= scalarWords[i] !== before;
    });
    if (!changed) return;
    this.scalarsWritten = true;
    this.gpu.device.queue.writeBuffer(this.scalarBuffer, 0, scalarWords, 0, ceilTo(scalarValues.length, 4));
  }
}

const isFloatDType = (dtype: DType): boolean => dtype === "f32" || dtype === "f16" || dtype === "bf16";

/** Workgroups over two dimensions, with few left over. */
export function gridOf(count: number, most: number): [number, number] {
  if (count <= most) return [count, 1];
  const y = Math.ceil(count / most);
  return [Math.ceil(count / y), y];
}

function expectMemory(buffer: unknown): GpuMemory {
  if (buffer instanceof GpuMemory && buffer.buffer) return buffer;
  throw new DeviceError({
    where: "evaluate on webgpu",
    expected: "a live buffer of the webgpu backend",
    got: buffer instanceof GpuMemory ? "one that was freed" : `a ${typeof buffer}`,
  });
}
