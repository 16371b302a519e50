import {
  type Bindings,
  bug,
  DeviceError,
  type DType,
  type Executable,
  explainSchedule,
  type Group,
  type HostArray,
  type Schedule,
  scalarProgram,
  type Profile,
} from "@lowrank/tensor/backend";
import { WasmBuffer } from "./buffer.js";
import type { EmitContext } from "./emit.js";
import type { Machine } from "./machine.js";
import { type Patches, type PlanBlock, PlanBuilder } from "./plan-builder.js";
import { writeScalars } from "./scalars.js";

const ALIGN = 64;
const NO_ARENA = -1;

/** A plan in Wasm memory: one block of commands, argument words and scalars, whose addresses are patched when they move. */
export class Plan implements Executable {
  readonly peakBytes: number;
  private readonly block: PlanBlock;
  private readonly at: number;
  private readonly scalarDtypes: readonly DType[];
  private readonly scalarValues: Float64Array;
  private readonly computeScalars: ReturnType<typeof scalarProgram>;
  /** Addresses that the block has now, by slot. */
  private readonly leafAt: number[] = [];
  private readonly rootAt: number[] = [];
  private arenaMoves = NO_ARENA;
  private disposed = false;

  constructor(
    private readonly machine: Machine,
    private readonly schedule: Schedule,
    emit: (group: Group, context: EmitContext) => void,
    private readonly profile: Profile | null,
  ) {
    const builder = new PlanBuilder(this.schedule, machine);
    for (const group of this.schedule.groups) {
      builder.nextGroup();
      emit(group, builder);
    }
    this.block = builder.finish();
    this.peakBytes = this.block.arenaBytes;
    this.scalarDtypes = this.schedule.scalars.map((s) => s.dtype);
    this.scalarValues = new Float64Array(this.scalarDtypes.length);
    this.computeScalars = scalarProgram(this.schedule.scalars);
    machine.ensureScratch(this.block.scratchBytes);
    const { words } = this.block;
    this.at = machine.heap.allocate(words.length * 4, "evaluate");
    machine.heap.i32.set(words, this.at / 4);
    this.patch(this.block.block, this.at);
  }

  run(bindings: Bindings): void | Promise<void> {
    if (this.disposed) bug("a plan ran after dispose");
    const { machine, block } = this;
    const began = performance.now();
    this.bindLeaves(bindings.leaves);
    for (const [slot, patches] of block.roots) {
      const at = addressOf(bindings.roots[slot]);
      if (at !== this.rootAt[slot]) this.patch(patches, (this.rootAt[slot] = at));
    }
    this.computeScalars(bindings.scalars, this.scalarValues);
    writeScalars(machine.heap, this.at + block.scalarsAt, this.scalarDtypes, this.scalarValues);
    for (const { at } of block.statuses) this.statusAt(at).fill(0);
    this.profile?.host("bind", began);
    const check = () => {
      for (const { at, decode } of block.statuses) {
        const words = this.statusAt(at);
        if (words.some(Boolean)) throw decode(words.slice());
      }
    };
    const apart = this.profile
      ? this.runTimed(this.profile)
      : machine.runList(this.at, block.commandCount, block.weight);
    return apart ? apart.then(check) : check();
  }

  explain(): string {
    return explainSchedule(this.schedule);
  }

  dispose(): void {
    if (!this.disposed) this.machine.heap.free(this.at);
    this.disposed = true;
  }

  /** Finds each leaf, copies host numbers behind the temporaries, and sees to it that the arena is large enough. */
  private bindLeaves(leaves: Bindings["leaves"]): void {
    const { machine, block } = this;
    let bytes = block.arenaBytes;
    for (const slot of block.leaves.keys()) {
      const leaf = leaves[slot]!;
      if (!(leaf instanceof WasmBuffer)) bytes += stagedBytes(leaf as HostArray);
    }
    machine.ensureArena(bytes);
    if (this.arenaMoves !== machine.arenaMoves) {
      this.arenaMoves = machine.arenaMoves;
      this.patch(block.arena, machine.arenaBase);
    }
    let staged = machine.arenaBase + block.arenaBytes;
    for (const [slot, patches] of block.leaves) {
      const leaf = leaves[slot]!;
      let at: number;
      if (leaf instanceof WasmBuffer) at = addressOf(leaf);
      else {
        const host = leaf as HostArray;
        at = staged;
        staged += stagedBytes(host);
        machine.heap.u8.set(new Uint8Array(host.buffer, host.byteOffset, host.byteLength), at);
      }
      if (at !== this.leafAt[slot]) this.patch(patches, (this.leafAt[slot] = at));
    }
  }

  private statusAt(at: number): Int32Array {
    return this.machine.heap.i32.subarray((this.at + at) / 4, (this.at + at) / 4 + 8);
  }

  private patch({ words, offsets }: Patches, base: number): void {
    const { i32 } = this.machine.heap;
    const first = this.at / 4;
    for (let i = 0; i < words.length; i++) i32[first + words[i]!] = base + offsets[i]!;
  }

  private runTimed(profile: Profile): void {
    const { groupStarts, commandCount, weight } = this.block;
    this.schedule.groups.forEach((group, i) => {
      const first = groupStarts[i]!;
      const count = (groupStarts[i + 1] ?? commandCount) - first;
      const began = performance.now();
      if (count > 0) this.machine.runList(this.at + 12 * first, count, weight);
      profile.group(group, began);
    });
  }
}

const stagedBytes = (host: HostArray): number => Math.ceil(host.byteLength / ALIGN) * ALIGN;

function addressOf(buffer: unknown): number {
  if (buffer instanceof WasmBuffer && buffer.at >= 0) return buffer.at;
  throw new DeviceError({
    where: "evaluate on wasm",
    expected: "a live buffer of the wasm backend",
    got: buffer instanceof WasmBuffer ? "one that was freed" : `a ${typeof buffer}`,
  });
}
