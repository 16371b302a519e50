import { bug, DeviceError } from "@lowrank/tensor/backend";

const PAGE = 65536;
const ALIGN = 64;
/** The last page stays unused, so that the end of a block is a 32-bit number too. */
const MOST_PAGES = 65535;
/** Least growth, so that many small tensors do not grow the memory one by one. */
const GROWTH_BYTES = 4 << 20;

const binOf = (bytes: number): number => 31 - Math.clz32(Math.floor(bytes / ALIGN));

/**
 * The allocator of a Wasm memory: blocks of 64-byte multiples at 64-byte alignment. Free blocks are kept in bins by the
 * power of two of their size and merge with free neighbours at once, so that a loop which allocates and frees the same
 * sizes stays where it is. Addresses are JavaScript numbers up to 2^32.
 */
export class Heap {
  /** Views of the whole memory, made anew whenever it grows. */
  u8!: Uint8Array;
  i32!: Int32Array;
  f32!: Float32Array;
  f64!: Float64Array;
  /** Bytes in blocks handed out. */
  usedBytes = 0;

  private readonly sizes = new Map<number, number>();
  private readonly freeSizes = new Map<number, number>();
  private readonly freeEnds = new Map<number, number>();
  private readonly bins: Set<number>[] = Array.from({ length: 32 }, () => new Set<number>());
  private top: number;

  constructor(
    readonly memory: WebAssembly.Memory,
    base: number,
    /** Most bytes that the memory may have. */
    readonly limitBytes: number,
  ) {
    this.top = Math.ceil(base / ALIGN) * ALIGN;
    this.refresh();
  }

  /** Bytes that the memory has now. */
  get memoryBytes(): number {
    return this.u8.length;
  }

  /** The address of at least `bytes` free bytes. @throws DeviceError when the memory is full */
  allocate(bytes: number, what: string): number {
    const size = Math.max(ALIGN, Math.ceil(bytes / ALIGN) * ALIGN);
    const at = this.takeFree(size) ?? this.takeTop(size, what);
    this.sizes.set(at, size);
    this.usedBytes += size;
    return at;
  }

  /** The bytes of the block at an address, as rounded by the allocator. */
  sizeOf(at: number): number {
    return this.sizes.get(at) ?? 0;
  }

  free(at: number): void {
    const size = this.sizes.get(at);
    if (size === undefined) bug(`${at} is no block of the heap`);
    this.sizes.delete(at);
    this.usedBytes -= size;
    let start = at;
    let end = at + size;
    const before = this.freeEnds.get(start);
    if (before !== undefined) {
      this.unlink(before);
      start = before;
    }
    const after = this.freeSizes.get(end);
    if (after !== undefined) {
      this.unlink(end);
      end += after;
    }
    if (end === this.top) this.top = start;
    else this.link(start, end - start);
  }

  private takeFree(size: number): number | undefined {
    let best: number | undefined;
    let bestSize = Number.POSITIVE_INFINITY;
    for (let bin = binOf(size); bin < 32 && best === undefined; bin++) {
      let looked = 0;
      for (const at of this.bins[bin]!) {
        const has = this.freeSizes.get(at)!;
        if (has >= size && has < bestSize) {
          best = at;
          bestSize = has;
          if (has === size) break;
        }
        if (++looked >= 32 && best !== undefined) break;
      }
    }
    if (best === undefined) return undefined;
    this.unlink(best);
    if (bestSize > size) this.link(best + size, bestSize - size);
    return best;
  }

  private takeTop(size: number, what: string): number {
    const at = this.top;
    const end = at + size;
    if (end > this.memoryBytes) this.grow(end, size, what);
    this.top = end;
    return at;
  }

  private grow(end: number, size: number, what: string): void {
    const have = this.memoryBytes / PAGE;
    const most = Math.min(MOST_PAGES, Math.floor(this.limitBytes / PAGE));
    const least = Math.ceil(end / PAGE);
    const eased = Math.min(most, Math.ceil(Math.max(end, this.memoryBytes + GROWTH_BYTES) / PAGE));
    for (const pages of [eased, least]) {
      if (pages > most || pages < least) continue;
      try {
        this.memory.grow(pages - have);
        this.refresh();
        return;
      } catch {
        // the engine has no more: try the least, then give up
      }
    }
    throw new DeviceError({
      where: `${what} on wasm`,
      expected: `at most ${this.limitBytes - this.usedBytes} free bytes (the limit is ${this.limitBytes})`,
      got: `a need for ${size} bytes in one piece beside ${this.usedBytes} in use`,
      hint: "use smaller batches, dispose() of tensors that are no longer needed, or raise maxMemoryBytes (up to 4 GiB)",
    });
  }

  private refresh(): void {
    const { buffer } = this.memory;
    this.u8 = new Uint8Array(buffer);
    this.i32 = new Int32Array(buffer);
    this.f32 = new Float32Array(buffer);
    this.f64 = new Float64Array(buffer);
  }

  private link(at: number, size: number): void {
    this.freeSizes.set(at, size);
    this.freeEnds.set(at + size, at);
    this.bins[binOf(size)]!.add(at);
  }

  private unlink(at: number): void {
    const size = this.freeSizes.get(at)!;
    this.freeSizes.delete(at);
    this.freeEnds.delete(at + size);
    this.bins[binOf(size)]!.delete(at);
  }
}
