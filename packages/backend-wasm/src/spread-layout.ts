import { dtypeBytes, type Group, type LoopGroup, type Schedule, type Value } from "@lowrank/tensor/backend";

/** A run of groups that work in one memory. */
export interface Segment {
  readonly memory: number;
  readonly groups: readonly Group[];
  /** Temporaries that other memories made and this one needs, with the memory that has them. */
  readonly arriving: readonly { readonly value: Value; readonly from: number }[];
  /** Leaves and roots of other memories that the groups read, and those that they write. */
  readonly reads: readonly Value[];
  readonly writes: readonly Value[];
}

/** Where each leaf and root lies: the number of its memory. */
export interface Owners {
  readonly leaves: readonly number[];
  readonly roots: readonly number[];
}

export const bytesOf = (value: Value): number => value.size * dtypeBytes(value.dtype);

/** The stored values that a group reads, and those that it writes. */
export function valuesOf(group: Group): { reads: Value[]; writes: Value[] } {
  const reads: Value[] = [];
  const writes: Value[] = [];
  const ofLoop = (loop: LoopGroup): void => {
    for (const load of loop.loads) if (load.kind === "value") reads.push(load.value);
    for (const { value } of [...loop.stores, ...loop.reductions]) writes.push(value);
  };
  if (group.kind === "loop") ofLoop(group);
  else {
    for (const input of group.inputs) if ("value" in input) reads.push(input.value);
    writes.push(...group.outputs);
    if (group.epilogue) ofLoop(group.epilogue);
  }
  const stored = (value: Value) => value.home.kind !== "none";
  return { reads: reads.filter(stored), writes: writes.filter(stored) };
}

/**
 * Cuts a schedule into segments: each group goes to the memory in which most bytes of its operands and results lie, and
 * neighbours in one memory form a segment. A temporary stays in the memory that made it until another needs it.
 *
 * @param mostStaged bytes of other memories' leaves and roots after which a segment ends, so that they need room together
 */
export function layOut({ groups }: Schedule, owners: Owners, mostStaged: number): Segment[] {
  const segments: Segment[] = [];
  /** Memories that have a temporary. */
  const present = new Map<Value, Set<number>>();
  const homeOf = ({ home }: Value): number | undefined =>
    home.kind === "leaf"
      ? owners.leaves[home.slot]
      : home.kind === "root"
        ? owners.roots[home.slot]
        : undefined;
  let open: {
    memory: number;
    groups: Group[];
    arriving: Map<Value, number>;
    reads: Set<Value>;
    writes: Set<Value>;
  } | null = null;
  const close = (): void => {
    if (!open) return;
    segments.push({
      memory: open.memory,
      groups: open.groups,
      arriving: [...open.arriving].map(([value, from]) => ({ value, from })),
      reads: [...open.reads],
      writes: [...open.writes],
    });
    open = null;
  };
  const staged = (): number =>
    open ? [...new Set([...open.reads, ...open.writes])].reduce((sum, v) => sum + bytesOf(v), 0) : 0;

  for (const group of groups) {
    const { reads, writes } = valuesOf(group);
    const memory = heaviest([...reads, ...writes], homeOf, present, open?.memory ?? 0);
    if (open && (open.memory !== memory || staged() > mostStaged)) close();
    open ??= { memory, groups: [], arriving: new Map(), reads: new Set(), writes: new Set() };
    for (const value of reads) {
      const home = homeOf(value);
      if (home === undefined) {
        const memories = present.get(value)!;
        if (!memories.has(memory)) {
          open.arriving.set(value, [...memories][0]!);
          memories.add(memory);
        }
      } else if (home !== memory) open.reads.add(value);
    }
    for (const value of writes) {
      const home = homeOf(value);
      if (home === undefined) present.set(value, new Set([memory]));
      else if (home !== memory) open.writes.add(value);
    }
    open.groups.push(group);
  }
  close();
  return segments;
}

function heaviest(
  values: readonly Value[],
  homeOf: (value: Value) => number | undefined,
  present: ReadonlyMap<Value, ReadonlySet<number>>,
  otherwise: number,
): number {
  const bytes = new Map<number, number>();
  for (const value of new Set(values)) {
    const home = homeOf(value);
    for (const memory of home === undefined ? (present.get(value) ?? []) : [home])
      bytes.set(memory, (bytes.get(memory) ?? 0) + bytesOf(value));
  }
  let best = otherwise;
  for (const [memory, sum] of bytes) if (sum > (bytes.get(best) ?? 0)) best = memory;
  return best;
}
