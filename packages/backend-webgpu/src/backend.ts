import {
  type Backend,
  type BackendMemory,
  ConfigError,
  type DeviceBuffer,
  DeviceError,
  DTypeError,
  type Executable,
  type Graph,
  type HostArray,
  type ProfileRow,
  type ProfileTimeline,
  schedule,
} from "@lowrank/tensor/backend";
import { GpuContext } from "./context.js";
import { type AdapterOptions, requestDevice } from "./device.js";
import { emitGroup } from "./emit-group.js";
import { expectSizes } from "./limits.js";
import { GpuMemory } from "./memory.js";
import { Plan } from "./plan.js";
import { targetOf } from "./target.js";
import type { TuneStore } from "./tuner.js";

export interface WebGpuOptions extends AdapterOptions {
  /** The device to work on; it stays the caller's and is not destroyed by `dispose`. Default: one that is asked for here. */
  device?: GPUDevice;
  /** Most bytes of tensors, temporaries not counted. Default: no limit but the device's. */
  maxMemoryBytes?: number;
  /**
   * Time in milliseconds that the GPU should need for one submit at most. A submit can not be interrupted: on a GPU that
   * also draws the page a long one freezes it, and drivers give a device up that works on one for seconds. Default: 50.
   */
  submitMs?: number;
  /**
   * Ask the device about each dispatch before a plan is submitted, so that what it refuses is told at the op and before
   * anything has happened. Slow: for finding faults. Default: false, and a refusal ends the backend.
   */
  validate?: boolean;
  /**
   * Measure ways to form a product on the device, when a plan with one of a new class of shapes runs for the first time, and
   * take the fastest. A store keeps what was measured for later programs; `true` forgets it with the backend. Results are the
   * same bits with and without, and the first run takes longer. Default: false, ways by shape alone.
   */
  tune?: boolean | TuneStore;
  /** Measure each kernel by timestamps, which makes plans slower. Needs the feature timestamp-query. Default: false. */
  profile?: boolean;
}

/** The WebGPU backend. */
export interface WebGpuBackend extends Backend {
  readonly device: GPUDevice;
  /**
   * Resolves with the error that everything ends in from now on: the device was lost, or refused what had been promised
   * already. A new backend can load the last checkpoint. Never resolves for a backend that is only disposed.
   */
  readonly lost: Promise<DeviceError>;
  /** Time per group and shape since the last call, the most expensive first; empty without the option `profile`. */
  profile(): Promise<ProfileRow[]>;
  /** The runs of groups since the last call, for `chromeTrace`; empty without the option `profile`. */
  timeline(): Promise<ProfileTimeline>;
  /** Pipelines compiled so far. */
  readonly pipelines: number;
  /** Bytes of all buffers that exist on the device: in use, kept for later, for parameters and for reading back. */
  readonly heldBytes: number;
}

/**
 * Starts the WebGPU backend on a device of its own, or on the one given.
 *
 * @throws DeviceError where there is no WebGPU or no adapter
 * @throws ConfigError if an option is out of range, or `profile` is asked for on a device without timestamps
 */
export async function webgpu(options: WebGpuOptions = {}): Promise<WebGpuBackend> {
  const { maxMemoryBytes = Number.MAX_SAFE_INTEGER, submitMs = 50, profile = false } = options;
  if (!Number.isInteger(maxMemoryBytes) || maxMemoryBytes < 1 << 20) {
    throw new ConfigError({
      where: "webgpu",
      expected: "maxMemoryBytes to be an integer of at least 1 MiB",
      got: String(maxMemoryBytes),
    });
  }
  if (!(submitMs > 0)) {
    throw new ConfigError({
      where: "webgpu",
      expected: "submitMs to be a number above 0",
      got: String(submitMs),
      hint: "Infinity puts each plan into one submit",
    });
  }
  const device =
    options.device ?? (await requestDevice((globalThis.navigator as Navigator | undefined)?.gpu, options));
  if (profile && !device.features.has("timestamp-query")) {
    if (!options.device) device.destroy();
    throw new ConfigError({
      where: "webgpu",
      expected: "a device with the feature timestamp-query for the option profile",
      got: "one without",
      hint: "leave profile out, or use another adapter or browser",
    });
  }
  const { validate = false, tune = false } = options;
  const gpu = new GpuContext(device, { maxMemoryBytes, submitMs, validate, ownsDevice: !options.device });
  if (profile) gpu.profiler = new (await import("./profiler.js")).Profiler(device, gpu.faults);
  if (tune) await (await import("./tune.js")).startTuner(gpu, tune);
  return new GpuBackend(gpu);
}

class GpuBackend implements WebGpuBackend {
  readonly name = "webgpu";
  readonly device: GPUDevice;
  readonly hostWork: Backend["hostWork"];
  private readonly target: ReturnType<typeof targetOf>;
  private peak = 0;
  private disposed = false;

  constructor(private readonly gpu: GpuContext) {
    this.device = gpu.device;
    this.target = targetOf(gpu.device.limits);
    const { profiler } = gpu;
    if (profiler) this.hostWork = (name, beganMs) => profiler.host(name, beganMs);
  }

  get lost(): Promise<DeviceError> {
    return this.gpu.faults.lost;
  }

  get pipelines(): number {
    return this.gpu.pipelines.count;
  }

  get heldBytes(): number {
    return this.gpu.pool.heldBytes;
  }

  allocate(bytes: number): DeviceBuffer {
    this.gpu.faults.expectAlive();
    const memory = this.gpu.pool.allocate(bytes);
    this.notePeak();
    return memory;
  }

  free(buffer: DeviceBuffer): void {
    if (this.disposed) return; // the memory went with the device
    const memory = this.alive(buffer, "free");
    memory.freed = true;
    void this.gpu.order.run(() => this.gpu.pool.free(memory));
  }

  write(buffer: DeviceBuffer, data: HostArray, byteOffset = 0): void {
    const memory = this.alive(buffer, "write");
    expectWithin("write", byteOffset, data.byteLength, memory.bytes);
    if (byteOffset % 4 !== 0) {
      throw new DeviceError({
        where: "write on webgpu",
        expected: "an offset of whole words (a multiple of 4 bytes)",
        got: String(byteOffset),
      });
    }
    this.gpu.faults.expectAlive();
    this.gpu.write(memory, data, byteOffset);
  }

  async read(buffer: DeviceBuffer, bytes: number): Promise<ArrayBuffer> {
    const memory = this.alive(buffer, "read");
    expectWithin("read", 0, bytes, memory.bytes);
    this.gpu.faults.expectAlive();
    return bytes === 0 ? new ArrayBuffer(0) : this.gpu.read(memory, bytes);
  }

  prepare(graph: Graph): Executable {
    this.gpu.faults.expectAlive();
    expectDTypes(graph);
    expectSizes(graph, this.device.limits);
    const began = performance.now();
    const groups = schedule(graph, this.target);
    this.hostWork?.("schedule", began);
    const scheduled = performance.now();
    const plan = new Plan(this.gpu, groups, emitGroup, () => this.notePeak());
    this.hostWork?.("emit", scheduled);
    return plan;
  }

  memory(): BackendMemory {
    return {
      ownedBytes: this.gpu.pool.ownedBytes,
      arenaBytes: this.gpu.arenaBytes,
      peakBytes: this.peak,
    };
  }

  resetPeak(): void {
    this.peak = this.gpu.pool.ownedBytes + this.gpu.arenaBytes;
  }

  async profile(): Promise<ProfileRow[]> {
    return (await this.gpu.profiler?.take()) ?? [];
  }

  async timeline(): Promise<ProfileTimeline> {
    return (await this.gpu.profiler?.timeline()) ?? { spans: [], dropped: 0 };
  }

  /** Everything that waits is rejected; what was read or awaited before stays valid. */
  dispose(): void {
    if (this.disposed) return;
    this.disposed = true;
    this.gpu.dispose();
  }

  private alive(buffer: DeviceBuffer, where: string): GpuMemory {
    if (buffer instanceof GpuMemory && !buffer.freed) return buffer;
    throw new DeviceError({
      where: `${where} on webgpu`,
      expected: "a live buffer of this backend",
      got: buffer instanceof GpuMemory ? "one that was freed" : "one of another backend",
    });
  }

  private notePeak(): void {
    this.peak = Math.max(this.peak, this.gpu.pool.ownedBytes + this.gpu.arenaBytes);
  }
}

/** @throws DTypeError for a dtype that GPUs of the web do not have */
function expectDTypes({ nodes }: Graph): void {
  for (const node of nodes) {
    if (!(node.outputs ?? [node]).some((o) => o.dtype === "f64")) continue;
    throw new DTypeError({
      where: `${node.op.name} on webgpu`,
      expected: "f32, f16, bf16, i32, u32, i8, u8 or bool",
      got: "f64, which GPUs of the web do not have",
      hint: 'cast with .astype("f32"), or evaluate on the wasm backend',
    });
  }
}

function expectWithin(where: string, from: number, bytes: number, size: number): void {
  if (from >= 0 && from + bytes <= size) return;
  throw new DeviceError({
    where: `${where} on webgpu`,
    expected: `a range within a buffer of ${size} bytes`,
    got: `${bytes} bytes from ${from}`,
  });
}
