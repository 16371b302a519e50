const ALIGN = 64;

/** A block in {@link DryMemory}. */
export interface DryBlock {
  readonly bytes: number;
  at: number;
}

/**
 * Addresses without memory behind them, given out as the embedded backend does: the free block that fits best, else the
 * end; free neighbours merge. How far the end ever went is how large the memory would be.
 */
export class DryMemory {
  /** Highest end so far. */
  topBytes = 0;
  private end = 0;
  private free: { at: number; size: number }[] = []; // by address
  private readonly sizes = new Map<number, number>();

  allocate(bytes: number): number {
    const size = Math.max(ALIGN, Math.ceil(bytes / ALIGN) * ALIGN);
    let best = -1;
    for (const [i, block] of this.free.entries()) {
      if (block.size >= size && (best < 0 || block.size < this.free[best]!.size)) best = i;
    }
    let at = this.end;
    if (best >= 0) {
      const block = this.free[best]!;
      at = block.at;
      if (block.size === size) this.free.splice(best, 1);
      else this.free[best] = { at: at + size, size: block.size - size };
    } else {
      this.end += size;
      this.topBytes = Math.max(this.topBytes, this.end);
    }
    this.sizes.set(at, size);
    return at;
  }

  release(at: number): void {
    const size = this.sizes.get(at) ?? 0;
    this.sizes.delete(at);
    let place = this.free.findIndex((block) => block.at > at);
    if (place < 0) place = this.free.length;
    this.free.splice(place, 0, { at, size });
    const merge = (i: number): void => {
      const [a, b] = [this.free[i], this.free[i + 1]];
      if (a === undefined || b === undefined || a.at + a.size !== b.at) return;
      this.free.splice(i, 2, { at: a.at, size: a.size + b.size });
    };
    merge(place);
    merge(place - 1);
    const last = this.free.at(-1);
    if (last !== undefined && last.at + last.size === this.end) {
      this.free.pop();
      this.end = last.at;
    }
  }
}
