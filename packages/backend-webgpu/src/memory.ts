import { type DeviceBuffer, DeviceError } from "@lowrank/tensor/backend";
import type { Faults } from "./faults.js";

/** A buffer and a number that no other one ever had, which names it in the keys of bind groups. */
export interface Slab {
  readonly buffer: GPUBuffer;
  readonly id: number;
}

/** A tensor's memory on the GPU. */
export class GpuMemory implements DeviceBuffer {
  /** Set while it is not known whether the device has the memory. */
  pending: Promise<void> | null = null;
  /** Why there are no numbers here: the memory was refused, or the plan that was to write it failed. */
  failure: DeviceError | null = null;
  /** The caller has let go of it, although work that was asked for before may still need it. */
  freed = false;

  constructor(
    readonly bytes: number,
    public slab: Slab,
  ) {}
}

const USAGE = {
  storage: 0x80 | 0x04 | 0x08, // STORAGE | COPY_SRC | COPY_DST
  uniform: 0x40 | 0x08, // UNIFORM | COPY_DST
  staging: 0x01 | 0x08, // MAP_READ | COPY_DST
};
/** What a buffer is for: tensors and temporaries, parameters of dispatches, or copies that the host maps. */
type Purpose = keyof typeof USAGE;
/** Bytes of freed buffers that are kept for the next allocation. */
const MOST_IDLE = 256 << 20;
const MOST_IDLE_STAGING = 32 << 20;

/** Sizes in steps of an eighth of their power of two, so that freed buffers fit again; never below a vector. */
export function sizeClass(bytes: number): number {
  if (bytes <= 256) return Math.max(16, Math.ceil(bytes / 16) * 16);
  const step = 2 ** Math.max(4, Math.floor(Math.log2(bytes)) - 3);
  return Math.ceil(bytes / step) * step;
}

/** Freed buffers by their size, the sizes that were used longest ago first. */
class Idle {
  private readonly bySize = new Map<number, Slab[]>();
  bytes = 0;

  constructor(private readonly mostBytes: number) {}

  take(size: number): Slab | undefined {
    const list = this.bySize.get(size);
    const slab = list?.pop();
    if (!slab) return undefined;
    this.bytes -= size;
    this.bySize.delete(size);
    if (list!.length > 0) this.bySize.set(size, list!);
    return slab;
  }

  /** Takes in a buffer and gives those that must go for it. */
  put(slab: Slab): Slab[] {
    const { size } = slab.buffer;
    const list = this.bySize.get(size) ?? [];
    list.push(slab);
    this.bySize.delete(size);
    this.bySize.set(size, list);
    this.bytes += size;
    const gone: Slab[] = [];
    while (this.bytes > this.mostBytes) gone.push(this.take(this.bySize.keys().next().value!)!);
    return gone;
  }

  clear(): Slab[] {
    const all = [...this.bySize.values()].flat();
    this.bySize.clear();
    this.bytes = 0;
    return all;
  }
}

/**
 * Buffers of one device. What was freed serves the next allocation of its size: commands run in the order in which they
 * were submitted, so that the old content has been read by then.
 */
export class Pool {
  private readonly idle = new Idle(MOST_IDLE);
  private readonly staging = new Idle(MOST_IDLE_STAGING);
  /** Every buffer that was made and not destroyed. */
  private readonly live = new Set<GPUBuffer>();
  private readonly requests = new Set<Promise<void>>();
  private ids = 0;
  /** Bytes in buffers handed out and not freed. */
  ownedBytes = 0;
  /** Gives up what its owner holds for later only. */
  onPressure: () => void = () => {};

  constructor(
    private readonly device: GPUDevice,
    private readonly faults: Faults,
    private readonly mostBytes: number,
  ) {}

  /** Memory for a tensor. Whether the device really has it is known once `settled` has resolved. */
  allocate(bytes: number): GpuMemory {
    const size = this.sizeOf(bytes);
    this.expectFits(bytes, size);
    const slab = this.idle.take(size);
    this.ownedBytes += size;
    if (slab) return new GpuMemory(bytes, slab);
    const first = this.create(size, "storage");
    const memory = new GpuMemory(bytes, first.slab);
    const request = this.confirm(memory, first.error).then(() => {
      memory.pending = null;
      this.requests.delete(request);
    });
    memory.pending = request;
    this.requests.add(request);
    return memory;
  }

  free(memory: GpuMemory): void {
    const { slab } = memory;
    this.ownedBytes -= this.sizeOf(memory.bytes);
    if (memory.failure || memory.pending) this.destroy(slab);
    else for (const gone of this.idle.put(slab)) this.destroy(gone);
  }

  /**
   * Memory that is there: for temporaries, or that the host can map. Its owner destroys it.
   *
   * @throws DeviceError with the sizes, if the device refuses even after all freed memory has been given back
   */
  async acquire(bytes: number, purpose: Purpose): Promise<Slab> {
    const size = this.sizeOf(bytes);
    let { slab, error } = this.create(size, purpose);
    let why = await this.faults.orFailed(error);
    if (why) {
      this.destroy(slab);
      this.trim();
      ({ slab, error } = this.create(size, purpose));
      why = await this.faults.orFailed(error);
    }
    if (!why) return slab;
    this.destroy(slab);
    throw this.refusal(size, why);
  }

  async takeStaging(bytes: number): Promise<Slab> {
    return this.staging.take(this.sizeOf(bytes)) ?? this.acquire(bytes, "staging");
  }

  /** Takes back an unmapped buffer. */
  giveStaging(slab: Slab): void {
    if (this.live.has(slab.buffer)) for (const gone of this.staging.put(slab)) this.destroy(gone);
  }

  destroy({ buffer }: Slab): void {
    this.live.delete(buffer);
    buffer.destroy();
  }

  /** Bytes of freed buffers that wait to be used again. */
  get idleBytes(): number {
    return this.idle.bytes + this.staging.bytes;
  }

  /** Bytes of all buffers that exist. */
  get heldBytes(): number {
    let bytes = 0;
    for (const { size } of this.live) bytes += size;
    return bytes;
  }

  /** Destroys what is not in use. */
  trim(): void {
    for (const slab of [...this.idle.clear(), ...this.staging.clear()]) this.destroy(slab);
    this.onPressure();
  }

  /** Destroys everything. */
  dispose(): void {
    for (const buffer of this.live) buffer.destroy();
    this.live.clear();
    this.idle.clear();
    this.staging.clear();
    this.ownedBytes = 0;
  }

  /** Whether it is not yet known of some memory if it is there. */
  get unsettled(): boolean {
    return this.requests.size > 0;
  }

  /** Waits until it is known of all memory so far if it is there. */
  async settled(): Promise<void> {
    await this.faults.orFailed(Promise.all(this.requests));
  }

  /** The size of the buffer for so many bytes: near the largest one, no more than whole vectors. */
  private sizeOf(bytes: number): number {
    const size = sizeClass(bytes);
    return size <= this.device.limits.maxBufferSize ? size : Math.ceil(bytes / 16) * 16;
  }

  /** Asks once more, with all freed memory given back, if the device has refused. */
  private async confirm(memory: GpuMemory, error: Promise<string | null>): Promise<void> {
    if (!(await error)) return;
    const old = memory.slab;
    if (!this.live.delete(old.buffer)) return; // freed or disposed meanwhile
    old.buffer.destroy();
    this.trim();
    const size = this.sizeOf(memory.bytes);
    const second = this.create(size, "storage");
    memory.slab = second.slab;
    const why = await second.error;
    if (!why) return;
    memory.failure = this.refusal(size, why);
    this.destroy(second.slab);
  }

  /** A buffer, of which it is told later if the device has it: null, or why not. */
  private create(size: number, purpose: Purpose): { slab: Slab; error: Promise<string | null> } {
    let tell: (why: string | null) => void = () => {};
    const error = new Promise<string | null>((resolve) => {
      tell = resolve;
    });
    const request = () =>
      this.device.createBuffer({ size, usage: USAGE[purpose], label: `lowrank ${purpose}` });
    const buffer = this.faults.watch(request, (refused) =>
      tell(refused && (refused.message || "out of memory")),
    );
    this.live.add(buffer);
    return { slab: { buffer, id: ++this.ids }, error };
  }

  private refusal(size: number, why: string): DeviceError {
    return new DeviceError({
      where: "allocate on webgpu",
      expected: `${size} more bytes of GPU memory`,
      got: `a refusal (${why.trim()}) with ${this.heldBytes} bytes held, ${this.ownedBytes} of them by tensors`,
      hint: "use a smaller batch or shorter sequences, or dispose what is no longer needed",
    });
  }

  private expectFits(bytes: number, size: number): void {
    if (size > this.device.limits.maxBufferSize) {
      throw new DeviceError({
        where: "allocate on webgpu",
        expected: `a tensor of at most ${this.device.limits.maxBufferSize} bytes, the largest buffer of this device`,
        got: `one of ${bytes} bytes`,
        hint: "split it along its first axis",
      });
    }
    if (this.ownedBytes + size > this.mostBytes) {
      throw new DeviceError({
        where: "allocate on webgpu",
        expected: `at most ${this.mostBytes} bytes in use, the limit maxMemoryBytes`,
        got: `${this.ownedBytes} in use and ${bytes} more asked for`,
        hint: "raise the limit, or dispose what is no longer needed",
      });
    }
  }
}
