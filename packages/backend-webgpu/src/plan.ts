import {
  type Bindings,
  bug,
  costOf,
  DeviceError,
  dtypeBytes,
  type Executable,
  explainSchedule,
  type Group,
  groupName,
  type HostArray,
  LowrankError,
  type Schedule,
  sizeOf,
} from "@lowrank/tensor/backend";
import type { GpuContext } from "./context.js";
import type { EmitContext } from "./emit.js";
import { expectArena, expectBindable } from "./limits.js";
import { GpuMemory, type Slab } from "./memory.js";
import { Pace } from "./pace.js";
import { Parameters } from "./parameters.js";
import { type Part, partsOf } from "./parts.js";
import { type Pipeline, ShaderFault } from "./pipelines.js";
import { type Binding, type Dispatch, paddedBytes, placeOf, type Scratch } from "./shader.js";
import { split } from "./split.js";

const ALIGN = 256;
const ceilTo = (n: number, step: number): number => Math.ceil(n / step) * step;
/** Bind groups kept for each dispatch. */
const MOST_GROUPS = 8;

/** One dispatch of a plan and what is kept for it from run to run. */
export interface Step {
  readonly dispatch: Dispatch;
  readonly group: Group;
  /** Estimated time, as `Pace` counts it. */
  readonly units: number;
  /** Leaf and root slots whose buffers name the bind group. */
  readonly slots: readonly { kind: "leaf" | "root"; slot: number }[];
  readonly bindGroups: Map<string, GPUBindGroup>;
  pipeline: Pipeline;
}

/** What one run reads and writes, on the device once it has begun. */
interface Run {
  readonly leaves: (GpuMemory | HostArray)[];
  readonly roots: readonly GpuMemory[];
  readonly scalars: Float64Array;
}

/** A plan on the GPU: a list of dispatches, in as few submits as their time allows. */
export class Plan implements Executable {
  peakBytes = 0;
  private steps: readonly Step[] = [];
  /** What was known of the fastest kernels when the steps were made. */
  private tuned: number | undefined;
  private readonly parameters: Parameters;
  private parts: readonly Part[] = [];
  /** Speed of the device that the parts were made for. */
  private dividedFor = Number.POSITIVE_INFINITY;
  /** Copies of host numbers, by leaf slot. */
  private readonly staged = new Map<number, GpuMemory>();
  /** Bytes that each leaf and root must have. */
  private readonly needed: Record<"leaf" | "root", number[]> = { leaf: [], root: [] };
  private disposed = false;

  /** @throws DeviceError if the device can not bind what a group reads and writes */
  constructor(
    private readonly gpu: GpuContext,
    private readonly schedule: Schedule,
    private readonly emit: (group: Group, context: EmitContext) => void,
    /** Told at the end of each run. */
    private readonly onRun: () => void,
  ) {
    this.parameters = new Parameters(gpu, schedule.scalars);
    for (const { home, size, dtype } of schedule.values) {
      if (home.kind === "leaf" || home.kind === "root")
        this.need(home.kind, home.slot, size * dtypeBytes(dtype));
    }
    this.make();
  }

  /** Makes the dispatches. */
  private make(): void {
    const { gpu, schedule, emit } = this;
    this.tuned = gpu.tuner?.version;
    const temporaries = ceilTo(schedule.arenaBytes, ALIGN);
    let scratchBytes = 0;
    this.steps = schedule.groups.flatMap((group) => {
      let at = temporaries;
      const take = (bytes: number): number => {
        const offset = at;
        at += ceilTo(Math.max(16, bytes), ALIGN);
        scratchBytes = Math.max(scratchBytes, at - temporaries);
        return offset;
      };
      const pieces = split(group, {
        limit: gpu.device.limits.maxStorageBufferBindingSize,
        temporary: (like, dtype, dims) => {
          const size = sizeOf(dims);
          const home = { kind: "temp", offset: take(size * dtypeBytes(dtype)) } as const;
          return { ...like, dtype, dims, size, home };
        },
      });
      const end = at;
      return pieces.flatMap((piece) => {
        const dispatches: Dispatch[] = [];
        at = end; // the scratch of one piece serves the next
        emit(piece, {
          traits: gpu.traits,
          tuner: gpu.tuner,
          dispatch: (d) => {
            if (d.workgroups > 0) dispatches.push(d);
          },
          scratch: (bytes): Scratch => ({ kind: "scratch", offset: take(bytes), bytes }),
        });
        const flops = dispatches.length > 0 ? costOf(piece).flops / dispatches.length : 0;
        return dispatches.map((dispatch) => this.stepOf(dispatch, group, flops));
      });
    });
    this.peakBytes = temporaries + scratchBytes;
    expectArena(this.peakBytes, gpu.device.limits);
    this.parts = [];
    this.parameters.outdated();
  }

  run(bindings: Bindings): Promise<void> {
    if (this.disposed) bug("a plan ran after dispose");
    this.gpu.faults.expectAlive();
    // Who frees a buffer while this waits for its turn frees it for those who come later.
    const run: Run = {
      leaves: bindings.leaves.map((leaf, slot) => {
        if (!ArrayBuffer.isView(leaf)) return expectMemory(leaf, this.needed.leaf[slot]);
        return leaf as HostArray;
      }),
      roots: bindings.roots.map((root, slot) => expectMemory(root, this.needed.root[slot])),
      scalars: bindings.scalars,
    };
    return Promise.resolve(this.gpu.order.run(() => this.carryOut(run)));
  }

  explain(): string {
    return explainSchedule(this.schedule);
  }

  /** The plan's own memory is freed behind the runs that were asked for before. */
  dispose(): void {
    if (this.disposed) return;
    this.disposed = true;
    void this.gpu.order.run(() => {
      this.parameters.dispose();
      this.unstage();
    });
  }

  private stepOf(dispatch: Dispatch, group: Group, flops: number): Step {
    const { device, pipelines } = this.gpu;
    expectBindable(dispatch, group, device.limits);
    const bytes = dispatch.bindings.reduce((sum, { of }) => sum + paddedBytes(of), 0);
    const slots = dispatch.bindings.flatMap(({ of }) => {
      const place = placeOf(of);
      return place.kind === "arena" ? [] : [place];
    });
    const units = Pace.units({ bytes, flops });
    return { dispatch, group, units, slots, bindGroups: new Map(), pipeline: pipelines.of(dispatch) };
  }

  private need(kind: "leaf" | "root", slot: number, bytes: number): void {
    const list = this.needed[kind];
    list[slot] = Math.max(list[slot] ?? 0, bytes);
  }

  /** All of a run; only what the device needs time for is waited for. */
  private async carryOut(run: Run): Promise<void> {
    const { gpu } = this;
    try {
      gpu.faults.expectAlive();
      if (gpu.tuner && (await gpu.tuner.settle()) !== this.tuned) this.make();
      if (this.steps.some((step) => !step.pipeline.compiled)) await this.compile();
      const wait = gpu.pace.turn();
      if (wait) await gpu.turn();
      this.stage(run);
      if (gpu.pool.unsettled) await gpu.pool.settled();
      this.expectWhole(run);
      if (this.steps.length === 0) return;
      gpu.running = true;
      if (this.peakBytes > gpu.arenaBytes) await gpu.ensureArena(this.peakBytes);
      this.divide();
      if (!this.parameters.ready) await this.parameters.make(this.parts);
      this.upload(run);
      if (gpu.validate) await this.validate(run);
      for (let at = 0; at < this.parts.length; ) {
        if (at > 0 && gpu.pace.turn()) await gpu.turn();
        at = this.submitFrom(at, run);
      }
      this.onRun();
    } catch (error) {
      this.unstage();
      this.poison(run, error);
      throw error;
    } finally {
      gpu.running = false;
    }
  }

  private async compile(): Promise<void> {
    const { faults, pipelines } = this.gpu;
    await Promise.all(
      this.steps.map(async (step) => {
        const { dispatch, group } = step;
        if (step.pipeline.compiled) return;
        step.pipeline = pipelines.of(dispatch); // anew if it failed before
        try {
          await faults.orFailed(step.pipeline.ready);
        } catch (cause) {
          if (!(cause instanceof ShaderFault)) throw cause;
          faults.expectAlive();
          throw new DeviceError({
            where: `${groupName(group)} on webgpu, kernel ${dispatch.name}`,
            expected: "a shader that this device compiles",
            got: cause.message,
            hint: "this is a bug of ours or of the driver: please report it with the name of the GPU",
            cause,
          });
        }
      }),
    );
    faults.expectAlive();
  }

  /** Finds memory for leaves that come from the host. */
  private stage({ leaves }: Run): void {
    leaves.forEach((leaf, slot) => {
      if (leaf instanceof GpuMemory || this.staged.has(slot)) return;
      this.staged.set(slot, this.gpu.pool.allocate(leaf.byteLength));
    });
  }

  private unstage(): void {
    for (const memory of this.staged.values()) this.gpu.pool.free(memory);
    this.staged.clear();
  }

  /** @throws DeviceError if something that the run touches has no memory or no numbers */
  private expectWhole({ leaves, roots }: Run): void {
    for (const memory of [...leaves, ...roots, ...this.staged.values()]) {
      if (memory instanceof GpuMemory && memory.failure) throw memory.failure;
    }
  }

  /** Copies in the host's leaves and the scalars. */
  private upload(run: Run): void {
    run.leaves.forEach((leaf, slot) => {
      if (leaf instanceof GpuMemory) return;
      const memory = this.staged.get(slot)!;
      this.gpu.upload(memory, leaf, 0);
      run.leaves[slot] = memory;
    });
    this.parameters.write(run.scalars);
  }

  /** Cuts dispatches that would take longer than a submit may, by the speed that the device has shown. */
  private divide(): void {
    const { speed, submitMs } = this.gpu.pace;
    const slower = speed / this.dividedFor;
    if (slower < 2 && (slower > 0.25 || this.parts.length === this.steps.length) && this.parts.length > 0)
      return;
    const parts = partsOf(
      this.steps,
      submitMs / speed,
      this.gpu.device.limits.maxComputeWorkgroupsPerDimension,
    );
    this.dividedFor = speed;
    if (parts.length === this.parts.length) return;
    this.parts = parts;
    this.parameters.outdated();
  }

  /** Submits parts from `at` for as long as they fit, and returns where the next submit begins. */
  private submitFrom(at: number, run: Run): number {
    const { gpu, parts } = this;
    const { pace } = gpu;
    let units = 0;
    let end = at;
    do units += parts[end++]!.units;
    while (end < parts.length && pace.ms(units + parts[end]!.units, end - at + 1) <= pace.submitMs);
    gpu.submit(
      units,
      end - at,
      (encoder) => this.encode(encoder, at, end, run),
      async (error) => {
        const found = await this.culprit(run, at, end);
        gpu.faults.refused(found?.name ?? `a plan of ${parts.length} dispatches`, error);
      },
    );
    return end;
  }

  private encode(encoder: GPUCommandEncoder, from: number, to: number, run: Run): void {
    const { profiler } = this.gpu;
    const pass = profiler ? null : encoder.beginComputePass();
    let pipeline: GPUComputePipeline | null = null;
    for (let i = from; i < to; i++) {
      const part = this.parts[i]!;
      const { group } = part.step;
      const timed = profiler?.begin(encoder, group, group !== this.parts[i - 1]?.step.group);
      const at = timed ?? pass!;
      const compiled = part.step.pipeline.compiled!;
      if (timed || compiled !== pipeline) at.setPipeline((pipeline = compiled));
      this.dispatch(at, part, i, run);
      timed?.end();
    }
    pass?.end();
    profiler?.finish(encoder);
  }

  private dispatch(pass: GPUComputePassEncoder, part: Part, index: number, run: Run): void {
    pass.setBindGroup(0, this.bindGroupOf(part.step, run));
    pass.setBindGroup(1, this.parameters.bindGroup, this.parameters.offsetOf(index));
    pass.dispatchWorkgroups(part.x, part.y);
  }

  /** Encodes parts by themselves, to be thrown away, and finds the first that the device refuses. */
  private async culprit(
    run: Run,
    from: number,
    to: number,
  ): Promise<{ name: string; error: GPUError } | null> {
    const { device, faults } = this.gpu;
    const refusals: { name: string; error: GPUError }[] = [];
    const checks = this.parts.slice(from, to).map(
      (part, i) =>
        new Promise<void>((resolve) => {
          faults.watch(
            () => {
              const encoder = device.createCommandEncoder();
              const pass = encoder.beginComputePass();
              pass.setPipeline(part.step.pipeline.compiled!);
              this.dispatch(pass, part, from + i, run);
              pass.end();
              encoder.finish();
            },
            (error) => {
              const { group, dispatch } = part.step;
              if (error) refusals.push({ name: `${groupName(group)}, kernel ${dispatch.name},`, error });
              resolve();
            },
          );
        }),
    );
    await Promise.all(checks);
    return refusals[0] ?? null;
  }

  /** @throws DeviceError naming the dispatch that the device refuses, before anything is submitted */
  private async validate(run: Run): Promise<void> {
    const found = await this.gpu.faults.orFailed(this.culprit(run, 0, this.parts.length));
    if (!found) return;
    for (const step of this.steps) step.bindGroups.clear();
    throw new DeviceError({
      where: `${found.name} on webgpu`,
      expected: "commands that this device takes",
      got: found.error.message.trim(),
      hint: "this is a bug of ours: please report it with the name of the GPU",
    });
  }

  /** Results that the plan was to write and did not hold no numbers; what it was to overwrite keeps the old ones. */
  private poison({ leaves, roots }: Run, error: unknown): void {
    if (!(error instanceof LowrankError)) return;
    for (const root of roots) if (!leaves.includes(root)) root.failure ??= error;
  }

  private bindGroupOf(step: Step, { leaves, roots }: Run): GPUBindGroup {
    const slabOf = (kind: "leaf" | "root", slot: number): Slab =>
      (kind === "leaf" ? (leaves[slot] as GpuMemory) : roots[slot]!).slab;
    let key = `${this.gpu.arena?.id}`;
    for (const { kind, slot } of step.slots) key += `,${slabOf(kind, slot).id}`;
    let group = step.bindGroups.get(key);
    if (!group) {
      if (step.bindGroups.size >= MOST_GROUPS) step.bindGroups.delete(step.bindGroups.keys().next().value!);
      group = this.gpu.device.createBindGroup({
        label: step.dispatch.name,
        layout: step.pipeline.layout,
        entries: step.dispatch.bindings.map((binding, index) => ({
          binding: index,
          resource: this.resource(binding, slabOf),
        })),
      });
      step.bindGroups.set(key, group);
    }
    return group;
  }

  private resource({ of }: Binding, slabOf: (kind: "leaf" | "root", slot: number) => Slab): GPUBufferBinding {
    const place = placeOf(of);
    const { buffer } = place.kind === "arena" ? this.gpu.arena! : slabOf(place.kind, place.slot);
    return { buffer, offset: place.offset, size: paddedBytes(of) };
  }
}

function expectMemory(buffer: unknown, bytes = 0): GpuMemory {
  const memory = buffer instanceof GpuMemory ? buffer : null;
  if (memory && !memory.freed && memory.bytes >= bytes) return memory;
  throw new DeviceError({
    where: "evaluate on webgpu",
    expected: `a live buffer of the webgpu backend of at least ${bytes} bytes`,
    got: memory ? (memory.freed ? "one that was freed" : `one of ${memory.bytes}`) : `a ${typeof buffer}`,
  });
}
