import { bug, type DeviceBuffer, DeviceError } from "@lowrank/tensor/backend";

/** A tensor's memory on the GPU. */
export class GpuMemory implements DeviceBuffer {
  constructor(
    readonly bytes: number,
    /** null once freed. */
    public buffer: GPUBuffer | null,
    /** Differs for every buffer ever made: names it in the keys of bind groups. */
    readonly id: number,
  ) {}
}

const USAGE = 0x80 | 0x04 | 0x08; // STORAGE | COPY_SRC | COPY_DST
const MAP_READ = 0x01 | 0x08; // MAP_READ | COPY_DST
/** Bytes of freed buffers that are kept for the next allocation. */
const MOST_IDLE = 256 << 20;

/** Sizes in steps of an eighth of their power of two, so that freed buffers fit again; never below a vector. */
export function sizeClass(bytes: number): number {
  if (bytes <= 256) return Math.max(16, Math.ceil(bytes / 16) * 16);
  const step = 2 ** Math.max(4, Math.floor(Math.log2(bytes)) - 3);
  return Math.ceil(bytes / step) * step;
}

/**
 * Buffers of one device. What was freed serves the next allocation of its size: commands run in the order in which they
 * were submitted, so that the old content has been read by then.
 */
export class Pool {
  private readonly idle = new Map<number, GPUBuffer[]>();
  private readonly staging = new Map<number, GPUBuffer[]>();
  private idleBytes = 0;
  private ids = 0;
  /** Bytes in buffers handed out and not freed. */
  ownedBytes = 0;
  /** The first allocation that failed, until it is told. */
  private failure: DeviceError | null = null;
  private pending: Promise<void>[] = [];

  constructor(
    private readonly device: GPUDevice,
    private readonly mostBytes: number,
  ) {}

  allocate(bytes: number): GpuMemory {
    const size = sizeClass(bytes);
    this.expectFits(bytes, size);
    const buffer = this.idle.get(size)?.pop();
    if (buffer) this.idleBytes -= size;
    this.ownedBytes += size;
    return new GpuMemory(bytes, buffer ?? this.create(size, USAGE), ++this.ids);
  }

  free(memory: GpuMemory): void {
    const { buffer } = memory;
    if (!buffer) throw bug("GPU memory was freed twice");
    memory.buffer = null;
    this.ownedBytes -= buffer.size;
    if (this.idleBytes + buffer.size > MOST_IDLE) {
      buffer.destroy();
      return;
    }
    this.idleBytes += buffer.size;
    const list = this.idle.get(buffer.size);
    if (list) list.push(buffer);
    else this.idle.set(buffer.size, [buffer]);
  }

  /** A buffer that the host can map, given back by `giveStaging` once it is unmapped. */
  takeStaging(bytes: number): GPUBuffer {
    const size = sizeClass(bytes);
    return this.staging.get(size)?.pop() ?? this.create(size, MAP_READ);
  }

  giveStaging(buffer: GPUBuffer): void {
    const list = this.staging.get(buffer.size) ?? [];
    if (list.length >= 4 || buffer.size > 16 << 20) buffer.destroy();
    else this.staging.set(buffer.size, [...list, buffer]);
  }

  /** Memory for temporaries, which its owner destroys. */
  createArena(bytes: number): GPUBuffer {
    return this.create(sizeClass(bytes), USAGE);
  }

  /** Bytes of freed buffers that wait to be used again. */
  get waitingBytes(): number {
    return this.idleBytes;
  }

  /** Destroys what is not in use. */
  trim(): void {
    for (const lists of [this.idle, this.staging]) {
      for (const list of lists.values()) for (const buffer of list) buffer.destroy();
      lists.clear();
    }
    this.idleBytes = 0;
  }

  /**
   * Waits until every allocation so far is known to have succeeded.
   *
   * @throws DeviceError with the size of the first that did not
   */
  async settled(): Promise<void> {
    if (this.pending.length > 0) await Promise.all(this.pending.splice(0));
    const { failure } = this;
    this.failure = null;
    if (failure) throw failure;
  }

  private create(size: number, usage: number): GPUBuffer {
    this.device.pushErrorScope("out-of-memory");
    this.device.pushErrorScope("validation");
    const buffer = this.device.createBuffer({ size, usage });
    for (let scope = 0; scope < 2; scope++) {
      this.pending.push(
        this.device.popErrorScope().then(
          (error) => {
            if (error) this.failure ??= this.refusal(size, error.message);
          },
          () => {}, // the device is lost, which is told elsewhere
        ),
      );
    }
    return buffer;
  }

  private refusal(size: number, why: string): DeviceError {
    return new DeviceError({
      where: "allocate on webgpu",
      expected: `${size} more bytes of GPU memory`,
      got: `a refusal (${why.trim() || "out of memory"}) with ${this.ownedBytes} bytes in use`,
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
