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
  schedule,
} from "@lowrank/tensor/backend";
import { GpuContext } from "./context.js";
import { type AdapterOptions, requestDevice } from "./device.js";
import { emitGroup } from "./emit-group.js";
import { GpuMemory } from "./memory.js";
import { Plan } from "./plan.js";
import { type KernelTime, Profiler } from "./profiler.js";
import { targetOf } from "./target.js";

export interface WebGpuOptions extends AdapterOptions {
  /** The device to work on; it stays the caller's and is not destroyed by `dispose`. Default: one that is asked for here. */
  device?: GPUDevice;
  /** Most bytes of tensors, temporaries not counted. Default: no limit but the device's. */
  maxMemoryBytes?: number;
  /** Measure each kernel by timestamps, which makes plans slower. Needs the feature timestamp-query. Default: false. */
  profile?: boolean;
}

/** The WebGPU backend. */
export interface WebGpuBackend extends Backend {
  readonly device: GPUDevice;
  /** Time per kernel since the last call, the most expensive first; empty without the option `profile`. */
  profile(): Promise<KernelTime[]>;
  /** Pipelines compiled so far. */
  readonly pipelines: number;
}

/**
 * Starts the WebGPU backend on a device of its own, or on the one given.
 *
 * @throws DeviceError where there is no WebGPU or no adapter
 * @throws ConfigError if an option is out of range, or `profile` is asked for on a device without timestamps
 */
export async function webgpu(options: WebGpuOptions = {}): Promise<WebGpuBackend> {
  const { maxMemoryBytes = Number.MAX_SAFE_INTEGER, profile = false } = options;
  if (!Number.isInteger(maxMemoryBytes) || maxMemoryBytes < 1 << 20) {
    throw new ConfigError({
      where: "webgpu",
      expected: "maxMemoryBytes to be an integer of at least 1 MiB",
      got: String(maxMemoryBytes),
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
    });
  }
  return new GpuBackend(device, !options.device, maxMemoryBytes, profile);
}

class GpuBackend implements WebGpuBackend {
  readonly name = "webgpu";
  private readonly gpu: GpuContext;
  private readonly target: ReturnType<typeof targetOf>;
  private peak = 0;
  private disposed = false;

  constructor(
    readonly device: GPUDevice,
    private readonly ownsDevice: boolean,
    maxMemoryBytes: number,
    profile: boolean,
  ) {
    this.gpu = new GpuContext(device, maxMemoryBytes);
    this.target = targetOf(device.limits);
    if (profile) this.gpu.profiler = new Profiler(device);
  }

  get pipelines(): number {
    return this.gpu.pipelines.count;
  }

  allocate(bytes: number): DeviceBuffer {
    this.gpu.expectAlive();
    const memory = this.gpu.pool.allocate(bytes);
    this.notePeak();
    return memory;
  }

  free(buffer: DeviceBuffer): void {
    if (this.disposed) return; // the memory went with the device
    this.gpu.pool.free(this.alive(buffer, "free"));
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
    this.gpu.expectAlive();
    this.gpu.write(memory.buffer!, data, byteOffset);
  }

  async read(buffer: DeviceBuffer, bytes: number): Promise<ArrayBuffer> {
    const memory = this.alive(buffer, "read");
    expectWithin("read", 0, bytes, memory.bytes);
    return bytes === 0 ? new ArrayBuffer(0) : this.gpu.read(memory.buffer!, bytes);
  }

  prepare(graph: Graph): Executable {
    this.gpu.expectAlive();
    for (const node of graph.nodes) {
      const bad = (node.outputs ?? [node]).find((o) => o.dtype === "f64");
      if (bad) {
        throw new DTypeError({
          where: `${node.op.name} on webgpu`,
          expected: "f32, f16, bf16, i32, u32, i8, u8 or bool",
          got: "f64, which GPUs of the web do not have",
          hint: 'cast with .astype("f32"), or evaluate on the wasm backend',
        });
      }
    }
    const plan = new Plan(this.gpu, schedule(graph, this.target), emitGroup);
    const run = plan.run.bind(plan);
    plan.run = async (bindings) => {
      await run(bindings);
      this.notePeak();
    };
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

  async profile(): Promise<KernelTime[]> {
    return (await this.gpu.profiler?.take()) ?? [];
  }

  dispose(): void {
    if (this.disposed) return;
    this.disposed = true;
    this.gpu.dispose();
    if (this.ownsDevice) this.device.destroy();
  }

  private alive(buffer: DeviceBuffer, where: string): GpuMemory {
    if (buffer instanceof GpuMemory && buffer.buffer) return buffer;
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

function expectWithin(where: string, from: number, bytes: number, size: number): void {
  if (from >= 0 && from + bytes <= size) return;
  throw new DeviceError({
    where: `${where} on webgpu`,
    expected: `a range within a buffer of ${size} bytes`,
    got: `${bytes} bytes from ${from}`,
  });
}
