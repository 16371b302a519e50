import { DeviceError, type HostArray } from "@lowrank/tensor/backend";
import { Pool } from "./memory.js";
import { Pipelines } from "./pipelines.js";
import type { Profiler } from "./profiler.js";

/** Submits that may wait for the GPU before the next plan does. */
const AHEAD = 2;

/** One GPU device with what its plans share: buffers, pipelines, the arena, and what went wrong. */
export class GpuContext {
  readonly pool: Pool;
  readonly pipelines: Pipelines;
  profiler: Profiler | null = null;
  arena: GPUBuffer | null = null;
  arenaId = 0;
  /** Why nothing works any more. */
  private failure: DeviceError | null = null;
  private readonly flights: Promise<unknown>[] = [];

  constructor(
    readonly device: GPUDevice,
    maxMemoryBytes: number,
  ) {
    this.pool = new Pool(device, maxMemoryBytes);
    this.pipelines = new Pipelines(device);
    void device.lost.then((info) => {
      this.failure ??= new DeviceError({
        where: "webgpu",
        expected: "a device that is there",
        got: info.reason === "destroyed" ? "one that was destroyed" : `a lost one (${info.message})`,
        hint: "make a new backend with await webgpu() and load the last checkpoint",
      });
    });
    device.addEventListener("uncapturederror", (event) => {
      const { error } = event as GPUUncapturedErrorEvent;
      this.failure ??= new DeviceError({
        where: "webgpu",
        expected: "commands that this device takes",
        got: error.message,
        hint: "this is a bug of ours; please report it with the name of the GPU",
      });
    });
  }

  expectAlive(): void {
    if (this.failure) throw this.failure;
  }

  /** Waits while the GPU is more than two submits behind. */
  async turn(): Promise<void> {
    if (this.flights.length >= AHEAD) await this.orLost(this.flights.shift()!);
    this.expectAlive();
  }

  submit(encode: (encoder: GPUCommandEncoder) => void): void {
    const encoder = this.device.createCommandEncoder();
    encode(encoder);
    this.device.queue.submit([encoder.finish()]);
    const done = this.device.queue.onSubmittedWorkDone();
    done.catch(() => {});
    this.flights.push(done);
  }

  /** Makes the arena at least `bytes` large; what was in it is lost. */
  ensureArena(bytes: number): void {
    if (bytes === 0 || (this.arena && bytes <= this.arena.size)) return;
    if (bytes > this.device.limits.maxBufferSize) {
      throw new DeviceError({
        where: "evaluate on webgpu",
        expected: `at most ${this.device.limits.maxBufferSize} bytes of temporaries, the largest buffer of this device`,
        got: `a plan that needs ${bytes}`,
        hint: "use a smaller batch, shorter sequences, or checkpoint() around blocks",
      });
    }
    this.arena?.destroy();
    this.arena = this.pool.createArena(bytes);
    this.arenaId++;
  }

  get arenaBytes(): number {
    return this.arena?.size ?? 0;
  }

  /** Copies host numbers into a buffer, whole words. */
  write(buffer: GPUBuffer, host: HostArray, byteOffset: number): void {
    let bytes = new Uint8Array(host.buffer, host.byteOffset, host.byteLength);
    const whole = bytes.byteLength % 4 === 0 && bytes.byteOffset % 4 === 0;
    const shared = typeof SharedArrayBuffer !== "undefined" && host.buffer instanceof SharedArrayBuffer;
    if (!whole || shared) {
      // Dawn takes no view of shared memory, and the length must be one of whole words.
      const copy = new Uint8Array(Math.ceil(bytes.byteLength / 4) * 4);
      copy.set(bytes);
      bytes = copy;
    }
    this.device.queue.writeBuffer(buffer, byteOffset, bytes as Uint8Array<ArrayBuffer>);
  }

  async read(buffer: GPUBuffer, bytes: number): Promise<ArrayBuffer> {
    this.expectAlive();
    const size = Math.ceil(bytes / 4) * 4;
    const staging = this.pool.takeStaging(size);
    const encoder = this.device.createCommandEncoder();
    encoder.copyBufferToBuffer(buffer, 0, staging, 0, size);
    this.device.queue.submit([encoder.finish()]);
    await this.orLost(staging.mapAsync(1, 0, size)); // READ
    const result = staging.getMappedRange(0, size).slice(0, bytes);
    staging.unmap();
    this.pool.giveStaging(staging);
    this.expectAlive();
    await this.pool.settled();
    return result;
  }

  dispose(): void {
    this.failure ??= new DeviceError({
      where: "webgpu",
      expected: "a backend that works",
      got: "one that was disposed",
      hint: "make a new one with await webgpu()",
    });
    this.pool.trim();
    this.arena?.destroy();
    this.arena = null;
  }

  /** A promise of the device, or the reason why it will never come. */
  private async orLost<T>(promise: Promise<T>): Promise<T> {
    try {
      return await Promise.race([
        promise,
        this.device.lost.then((): never => {
          this.expectAlive();
          throw new Error("lowrank bug: a lost device left no reason");
        }),
      ]);
    } catch (error) {
      this.expectAlive();
      throw error;
    }
  }
}
