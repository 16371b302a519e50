/** A temporary: bytes, and the first and last step at which it holds something. */
export interface Interval {
  readonly bytes: number;
  readonly first: number;
  readonly last: number;
  offset: number;
}

const alignTo = (alignment: number) => (n: number) => Math.ceil(n / alignment) * alignment;

/**
 * Places temporaries in one arena so that no two that are alive at once overlap: the largest first, each at the lowest
 * gap that is free over its lifetime (greedy by size, arXiv:2001.03288, section 5.2).
 *
 * @returns the size of the arena and the largest sum alive at once, the lower bound.
 */
export function planArena(
  intervals: readonly Interval[],
  alignment = 64,
): { arenaBytes: number; liveBytes: number } {
  const align = alignTo(alignment);
  const placed: Interval[] = [];
  let arenaBytes = 0;
  for (const it of [...intervals].sort((a, b) => b.bytes - a.bytes || a.first - b.first)) {
    const size = align(it.bytes);
    let offset = 0;
    // `placed` is sorted by offset: walk the gaps from below.
    for (const other of placed) {
      if (other.last < it.first || other.first > it.last) continue;
      if (offset + size <= other.offset) break;
      offset = Math.max(offset, other.offset + align(other.bytes));
    }
    it.offset = offset;
    arenaBytes = Math.max(arenaBytes, offset + size);
    let at = placed.length;
    while (at > 0 && placed[at - 1]!.offset > offset) at--;
    placed.splice(at, 0, it);
  }
  return { arenaBytes, liveBytes: peakAlive(intervals, align) };
}

function peakAlive(intervals: readonly Interval[], align: (n: number) => number): number {
  const changes = new Map<number, number>();
  for (const { bytes, first, last } of intervals) {
    changes.set(first, (changes.get(first) ?? 0) + align(bytes));
    changes.set(last + 1, (changes.get(last + 1) ?? 0) - align(bytes));
  }
  let alive = 0;
  let peak = 0;
  for (const step of [...changes.keys()].sort((a, b) => a - b)) {
    alive += changes.get(step)!;
    peak = Math.max(peak, alive);
  }
  return peak;
}
