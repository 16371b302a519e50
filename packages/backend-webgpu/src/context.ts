import { DeviceError, type HostArray } from "@lowrank/tensor/backend";
import { type Traits, traitsOf } from "./emit-traits.js";
import { Faults } from "./faults.js";
import { type GpuMemory, Pool, type Slab } from "./memory.js";
import { Order } from "./order.js";
import { Pace } from "./pace.js";
import { Pipelines } from "./pipelines.js";
import type { Profiler } from "./profiler.js";
import type { Tuner } from "./tuner.js";

/** Bytes that are handed to the queue at once: it copies them. */
const UPLOAD = 64 << 20;

export interface ContextOptions {
  readonly maxMemoryBytes: number;
  readonly submitMs: number;
  readonly validate: boolean;
  /** Whether the device is ours alone. */
  readonly ownsDevice: boolean;
}

/** One GPU device with what its plans share: buffers, pipelines, the arena, the order of work, and what went wrong. */
export class GpuContext {
  readonly faults: Faults;
  readonly pool: Pool;
  readonly pipelines: Pipelines;
  readonly order = new Order();
  readonly pace: Pace;
  readonly validate: boolean;
  readonly traits: Traits;
  private readonly ownsDevice: boolean;
  profiler: Profiler | null = null;
  tuner: Tuner | null = null;
  /** Memory for temporaries, which one plan at a time uses. */
  arena: Slab | null = null;
  /** A plan is between its submits. */
  running = false;

  constructor(
    readonly device: GPUDevice,
    { maxMemoryBytes, submitMs, validate, ownsDevice }: ContextOptions,
  ) {
    this.faults = new Faults(device, ownsDevice);
    this.pool = new Pool(device, this.faults, maxMemoryBytes);
    this.pool.onPressure = () => {
      if (!this.running) this.dropArena();
    };
    this.pipelines = new Pipelines(device);
    this.pace = new Pace(submitMs);
    this.validate = validate;
    this.ownsDevice = ownsDevice;
    this.traits = traitsOf(device);
  }

  /** Waits while the GPU has enough to do. */
  async turn(): Promise<void> {
    const wait = this.pace.turn();
    if (wait) await this.faults.orFailed(wait);
    this.faults.expectAlive();
  }

  /**
   * Encodes commands and hands them to the GPU.
   *
   * @param units work, as `Pace` counts it, of so many dispatches
   * @param refused learns later that the device did not carry them out
   */
  submit(
    units: number,
    dispatches: number,
    encode: (encoder: GPUCommandEncoder) => void,
    refused: (error: GPUError) => void | Promise<void>,
  ): void {
    const { device } = this;
    this.faults.watch(
      () => {
        const encoder = device.createCommandEncoder();
        encode(encoder);
        device.queue.submit([encoder.finish()]);
      },
      (error) => (error ? refused(error) : undefined),
    );
    this.pace.left(units, dispatches, device.queue.onSubmittedWorkDone());
  }

  /** Makes the arena at least `bytes` large; what was in it is lost. */
  async ensureArena(bytes: number): Promise<void> {
    if (bytes <= this.arenaBytes) return;
    this.dropArena(); // submits that use it have their hold on it
    this.arena = await this.pool.acquire(bytes, "storage");
  }

  get arenaBytes(): number {
    return this.arena?.buffer.size ?? 0;
  }

  /** Copies host numbers into memory, whole words, behind the work that was asked for before. */
  write(memory: GpuMemory, host: HostArray, byteOffset: number): void {
    // Memory that may still be replaced, by pressing on freed buffers, is written once that is settled.
    const atOnce = this.order.idle && (!memory.pending || this.pool.idleBytes === 0);
    if (atOnce) {
      this.upload(memory, host, byteOffset);
      return;
    }
    const copy = new Uint8Array(host.byteLength);
    copy.set(bytesOf(host, 0, host.byteLength));
    const done = this.order.run(async () => {
      if (memory.pending) await this.faults.orFailed(memory.pending);
      this.upload(memory, copy, byteOffset);
    });
    void Promise.resolve(done).catch(() => {}); // only a dead device refuses it, which everything else tells
  }

  /** Copies host numbers into memory at once. */
  upload(memory: GpuMemory, host: HostArray, byteOffset: number): void {
    const { queue } = this.device;
    const { buffer } = memory.slab;
    const whole = host.byteOffset % 4 === 0 && !isShared(host) ? host.byteLength & ~3 : 0;
    this.faults.watch(
      () => {
        for (let at = 0; at < host.byteLength; ) {
          const most = at < whole ? Math.min(UPLOAD, whole - at) : Math.min(UPLOAD, host.byteLength - at);
          let part = bytesOf(host, at, most);
          if (at >= whole) {
            // Views of shared memory and odd lengths are not taken.
            const words = new Uint8Array(Math.ceil(most / 4) * 4);
            words.set(part);
            part = words;
          }
          queue.writeBuffer(buffer, byteOffset + at, part as Uint8Array<ArrayBuffer>);
          at += most;
        }
      },
      (error) => {
        // Refused memory tells by itself.
        if (error && buffer === memory.slab.buffer && !memory.failure && !memory.pending && !memory.freed)
          this.faults.refused("write", error);
      },
    );
  }

  /** Numbers of a tensor as all work leaves them that was asked for before. */
  async read(memory: GpuMemory, bytes: number): Promise<ArrayBuffer> {
    const size = Math.ceil(bytes / 4) * 4;
    const staging = await this.order.run(async () => {
      this.faults.expectAlive();
      if (memory.pending) await this.faults.orFailed(memory.pending);
      const taken = await this.pool.takeStaging(size);
      if (memory.failure) {
        this.pool.giveStaging(taken);
        throw memory.failure;
      }
      this.submit(
        Pace.units({ bytes: 2 * size, flops: 0 }),
        1,
        (encoder) => encoder.copyBufferToBuffer(memory.slab.buffer, 0, taken.buffer, 0, size),
        (error) => this.faults.refused("read", error),
      );
      return taken;
    });
    const { buffer } = staging;
    await this.faults.orFailed(buffer.mapAsync(1, 0, size)); // READ
    const result = buffer.getMappedRange(0, size).slice(0, bytes);
    buffer.unmap();
    this.pool.giveStaging(staging);
    await this.faults.settled(); // no numbers from work that was refused
    return result;
  }

  dispose(): void {
    this.faults.fail(
      new DeviceError({
        where: "webgpu",
        expected: "a backend that works",
        got: "one that was disposed",
        hint: "make a new one with await webgpu()",
      }),
      false,
    );
    this.profiler?.dispose();
    this.pool.dispose();
    this.arena = null;
    if (this.ownsDevice) this.device.destroy();
  }

  private dropArena(): void {
    if (this.arena) this.pool.destroy(this.arena);
    this.arena = null;
  }
}

const isShared = ({ buffer }: HostArray): boolean =>
  typeof SharedArrayBuffer !== "undefined" && buffer instanceof SharedArrayBuffer;

const bytesOf = (host: HostArray, at: number, length: number): Uint8Array =>
  new Uint8Array(host.buffer, host.byteOffset + at, length);
