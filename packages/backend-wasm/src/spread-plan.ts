import {
  type Bindings,
  bug,
  type DeviceBuffer,
  type Executable,
  explainSchedule,
  type HostArray,
  type Schedule,
  type Value,
  type Profile,
} from "@lowrank/tensor/backend";
import { WasmBuffer } from "./buffer.js";
import type { EmitGroup } from "./emit-group.js";
import { Plan } from "./executor.js";
import type { Machine } from "./machine.js";
import { bytesOf, layOut, type Owners, type Segment } from "./spread-layout.js";

/** Layouts kept for the places that leaves and roots have had. */
const MOST_LAYOUTS = 4;
/** Part of a memory that a segment may fill with copies from others, and the last of them beside. */
const STAGED = 1 / 16;
const ALIGN = 64;

interface Layout {
  readonly segments: readonly Segment[];
  readonly plans: readonly Plan[];
}

/**
 * A plan over several memories: segments of its groups, each a plan of the memory that has most of what it works on. The
 * memories have the same arena, so a temporary keeps its place when it moves; leaves and roots of other memories are
 * copied for a segment, and back where it writes them.
 */
export class SpreadPlan implements Executable {
  readonly peakBytes: number;
  private readonly layouts = new Map<string, Layout>();
  private disposed = false;

  constructor(
    private readonly machines: readonly Machine[],
    private readonly schedule: Schedule,
    private readonly emit: EmitGroup,
    private readonly profile: Profile | null,
  ) {
    this.peakBytes = schedule.arenaBytes;
  }

  run(bindings: Bindings): void {
    if (this.disposed) bug("a plan ran after dispose");
    const staged: WasmBuffer[] = [];
    try {
      const leaves = bindings.leaves.map((leaf) => {
        if (leaf instanceof WasmBuffer) return leaf;
        const host = leaf as HostArray;
        const buffer = this.stage(this.memoryFor(host.byteLength), host.byteLength, staged);
        this.machines[buffer.memory]!.heap.u8.set(
          new Uint8Array(host.buffer, host.byteOffset, host.byteLength),
          buffer.at,
        );
        return buffer;
      });
      const roots = bindings.roots as readonly WasmBuffer[];
      const { segments, plans } = this.layoutFor({
        leaves: leaves.map((b) => b.memory),
        roots: roots.map((b) => b.memory),
      });
      // No arena may move once something lies in it.
      for (const [memory, machine] of this.machines.entries()) {
        const needs = plans.filter((_, i) => segments[i]!.memory === memory).map((p) => p.peakBytes);
        const arriving = segments.some(
          (s) => s.memory === memory || s.arriving.some((a) => a.from === memory),
        );
        machine.ensureArena(Math.max(0, ...needs, arriving ? this.schedule.arenaBytes : 0));
      }
      // Nor may a segment lack room when others have changed parameters already.
      for (const { memory, reads, writes } of segments) {
        const owners = new Set([...reads, ...writes].map((value) => ownerOf(value, leaves, roots)));
        const bytes = [...owners].reduce((sum, { bytes }) => sum + Math.ceil(bytes / ALIGN) * ALIGN, 0);
        if (bytes > 0) this.unstage(this.stage(memory, bytes, []));
      }
      for (const [i, segment] of segments.entries())
        this.runSegment(segment, plans[i]!, { leaves, roots, scalars: bindings.scalars });
    } finally {
      for (const buffer of staged) this.unstage(buffer);
    }
  }

  explain(): string {
    return explainSchedule(this.schedule);
  }

  dispose(): void {
    this.disposed = true;
    for (const { plans } of this.layouts.values()) for (const plan of plans) plan.dispose();
    this.layouts.clear();
  }

  private runSegment(
    { memory, arriving, reads, writes }: Segment,
    plan: Plan,
    bindings: { leaves: readonly WasmBuffer[]; roots: readonly WasmBuffer[]; scalars: Float64Array },
  ): void {
    const machine = this.machines[memory]!;
    for (const { value, from } of arriving) {
      const offset =
        value.home.kind === "temp" ? value.home.offset : bug("a stored value moved as a temporary");
      const source = this.machines[from]!;
      copy(source, source.arenaBase + offset, machine, machine.arenaBase + offset, bytesOf(value));
    }
    const staged: WasmBuffer[] = [];
    try {
      const leaves: DeviceBuffer[] = [...bindings.leaves];
      const roots: DeviceBuffer[] = [...bindings.roots];
      const here = new Map<WasmBuffer, WasmBuffer>();
      const bring = (value: Value): WasmBuffer => {
        const own = ownerOf(value, bindings.leaves, bindings.roots);
        let buffer = here.get(own);
        if (!buffer) here.set(own, (buffer = this.stage(memory, own.bytes, staged)));
        const { kind, slot } = value.home as { kind: "leaf" | "root"; slot: number };
        (kind === "leaf" ? leaves : roots)[slot] = buffer;
        return own;
      };
      for (const value of new Set([...reads, ...writes])) bring(value);
      // What is written is not always written whole.
      for (const [own, buffer] of here) copyBuffer(this.machines, own, buffer);
      plan.run({ leaves, roots, scalars: bindings.scalars });
      for (const value of writes) {
        const own = bring(value);
        copyBuffer(this.machines, here.get(own)!, own);
      }
    } finally {
      for (const buffer of staged) this.unstage(buffer);
    }
  }

  private layoutFor(owners: Owners): Layout {
    const key = `${owners.leaves.join()};${owners.roots.join()}`;
    const known = this.layouts.get(key);
    if (known) return known;
    if (this.layouts.size >= MOST_LAYOUTS) {
      const [oldest, { plans }] = this.layouts.entries().next().value!;
      for (const plan of plans) plan.dispose();
      this.layouts.delete(oldest);
    }
    const segments = layOut(this.schedule, owners, this.machines[0]!.heap.limitBytes * STAGED);
    const plans = segments.map(
      ({ memory, groups }) =>
        new Plan(this.machines[memory]!, { ...this.schedule, groups }, this.emit, this.profile),
    );
    const layout = { segments, plans };
    this.layouts.set(key, layout);
    return layout;
  }

  /** The first memory with room to spare for segments, so that a plan finds its inputs where they were, else the emptiest. */
  private memoryFor(bytes: number): number {
    const left = this.machines.map(({ heap }) => heap.limitBytes - heap.usedBytes - bytes);
    const roomy = left.findIndex((n, i) => n >= 4 * STAGED * this.machines[i]!.heap.limitBytes);
    return roomy >= 0 ? roomy : left.indexOf(Math.max(...left));
  }

  private stage(memory: number, bytes: number, staged: WasmBuffer[]): WasmBuffer {
    const buffer = new WasmBuffer(bytes, this.machines[memory]!.heap.allocate(bytes, "evaluate"), memory);
    staged.push(buffer);
    return buffer;
  }

  private unstage({ memory, at }: WasmBuffer): void {
    this.machines[memory]!.heap.free(at);
  }
}

/** The buffer of a leaf or a root. */
function ownerOf({ home }: Value, leaves: readonly WasmBuffer[], roots: readonly WasmBuffer[]): WasmBuffer {
  if (home.kind !== "leaf" && home.kind !== "root") return bug("a temporary has no buffer");
  return (home.kind === "leaf" ? leaves : roots)[home.slot]!;
}

function copy(from: Machine, at: number, to: Machine, target: number, bytes: number): void {
  to.heap.u8.set(from.heap.u8.subarray(at, at + bytes), target);
}

function copyBuffer(machines: readonly Machine[], from: WasmBuffer, to: WasmBuffer): void {
  copy(machines[from.memory]!, from.at, machines[to.memory]!, to.at, from.bytes);
}
