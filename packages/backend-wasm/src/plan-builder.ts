import { bug, type Operand, type Schedule, type Value, dtypeBytes } from "@lowrank/tensor/backend";
import { MOST_CHUNKS } from "../assembly/layout.js";
import { LINKED } from "../assembly/ids.js";
import type { ArgWord, EmitContext, Extension, Fixup } from "./emit.js";
import type { Stretch } from "./loop-code.js";

const ALIGN = 64;
const alignUp = (bytes: number, to: number): number => Math.ceil(bytes / to) * to;

/** Where an address is counted from. */
type Base =
  | { readonly kind: "block" }
  | { readonly kind: "arena" }
  | { readonly kind: "workspace" }
  | { readonly kind: "leaf" | "root"; readonly slot: number };

class Address {
  constructor(
    readonly base: Base,
    readonly offset: number,
  ) {}
}

const asFixup = (address: Address): Fixup => address as unknown as Fixup;

/** Words of a plan's block that hold an address, with what is to be added to the base. */
export interface Patches {
  readonly words: Int32Array;
  readonly offsets: Float64Array;
}

/** The command block of a plan as it lies in memory, but for its addresses. */
export interface PlanBlock {
  /** List of commands first, then argument blocks, data, scalars. */
  readonly words: Int32Array;
  readonly commandCount: number;
  /** Weight of the commands that threads can share. */
  readonly weight: number;
  /** First command of each group. */
  readonly groupStarts: readonly number[];
  /** Byte offset of scalar `slot` in the block: `scalarsAt + 8 * slot`. */
  readonly scalarsAt: number;
  readonly block: Patches;
  readonly arena: Patches;
  readonly leaves: ReadonlyMap<number, Patches>;
  readonly roots: ReadonlyMap<number, Patches>;
  /** Bytes of the arena: temporaries and workspace. */
  readonly arenaBytes: number;
  readonly scratchBytes: number;
  /** Byte offsets in the block of words that tell of failures. */
  readonly statuses: readonly Status[];
}

interface Status {
  readonly at: number;
  decode(words: Int32Array): Error;
}

interface Command {
  readonly kernel: number;
  /** Byte offset of its arguments, counted from the end of the command list. */
  readonly args: number;
  readonly chunks: number;
  readonly weight: number;
}

/** Collects what the emitters write and lays it out. */
export class PlanBuilder implements EmitContext {
  private readonly words: number[] = [];
  private readonly patches: { word: number; address: Address }[] = [];
  private readonly commands: Command[] = [];
  private readonly groupStarts: number[] = [];
  private readonly scalarsAt: number;
  private workspaceAt = 0;
  private workspaceBytes = 0;
  private scratchBytes = 0;
  private readonly statuses: Status[] = [];

  constructor(
    private readonly schedule: Schedule,
    private readonly machine: {
      code: EmitContext["code"];
      extension(extension: Extension): number;
    },
  ) {
    this.scalarsAt = this.reserve(2 * schedule.scalars.length);
  }

  /** Begins the next group: its workspace may overwrite that of the last. */
  nextGroup(): void {
    this.groupStarts.push(this.commands.length);
    this.workspaceAt = 0;
  }

  command(kernel: number, args: readonly ArgWord[], chunks: number, weight = chunks): void {
    if (!Number.isInteger(chunks) || chunks < 1 || chunks > MOST_CHUNKS)
      bug(`kernel ${kernel} was emitted with ${chunks} chunks`);
    this.commands.push({ kernel, args: this.write(args), chunks, weight });
  }

  linked(
    extension: Extension,
    kernel: number,
    args: readonly ArgWord[],
    chunks: number,
    weight?: number,
  ): void {
    this.command(LINKED, [this.machine.extension(extension), kernel, ...args], chunks, weight);
  }

  code(stretch: Stretch): number | null {
    return this.machine.code(stretch);
  }

  status(decode: Status["decode"]): Fixup {
    const at = this.reserve(8);
    this.statuses.push({ at, decode });
    return asFixup(new Address({ kind: "block" }, at));
  }

  pointer(of: Value | Operand, byteOffset = 0): Fixup {
    const value = "value" in of ? of.value : of;
    const offset = byteOffset + ("value" in of ? of.offset * dtypeBytes(of.dtype) : 0);
    const { home } = value;
    if (home.kind === "none") return bug("a product without memory has no address");
    if (home.kind === "temp") return asFixup(new Address({ kind: "arena" }, home.offset + offset));
    return asFixup(new Address({ kind: home.kind, slot: home.slot }, offset));
  }

  data(words: readonly ArgWord[]): Fixup {
    return asFixup(new Address({ kind: "block" }, this.write(words)));
  }

  scalar(slot: number): Fixup {
    return asFixup(new Address({ kind: "block" }, this.scalarsAt + 8 * slot));
  }

  workspace(bytes: number): Fixup {
    const at = this.workspaceAt;
    this.workspaceAt += alignUp(bytes, ALIGN);
    this.workspaceBytes = Math.max(this.workspaceBytes, this.workspaceAt);
    return asFixup(new Address({ kind: "workspace" }, at));
  }

  offset(address: Fixup, bytes: number): Fixup {
    const { base, offset } = address as unknown as Address;
    return asFixup(new Address(base, offset + bytes));
  }

  scratch(bytes: number): void {
    this.scratchBytes = Math.max(this.scratchBytes, bytes);
  }

  finish(): PlanBlock {
    const listBytes = alignUp(this.commands.length * 12, ALIGN);
    const words = new Int32Array(listBytes / 4 + this.words.length);
    words.set(this.words, listBytes / 4);
    const temporaries = alignUp(this.schedule.arenaBytes, ALIGN);
    const block: [number, number][] = [];
    const arena: [number, number][] = [];
    const leaves = new Map<number, [number, number][]>();
    const roots = new Map<number, [number, number][]>();
    this.commands.forEach(({ kernel, args, chunks }, i) => {
      words[3 * i] = kernel;
      words[3 * i + 2] = chunks;
      block.push([3 * i + 1, listBytes + args]);
    });
    for (const { word, address } of this.patches) {
      const { base, offset } = address;
      const at = listBytes / 4 + word;
      if (base.kind === "block") block.push([at, listBytes + offset]);
      else if (base.kind === "arena") arena.push([at, offset]);
      else if (base.kind === "workspace") arena.push([at, temporaries + offset]);
      else {
        const slots = base.kind === "leaf" ? leaves : roots;
        let list = slots.get(base.slot);
        if (!list) slots.set(base.slot, (list = []));
        list.push([at, offset]);
      }
    }
    return {
      words,
      commandCount: this.commands.length,
      weight: this.commands.reduce((sum, { chunks, weight }) => sum + (chunks > 1 ? weight : 0), 0),
      groupStarts: this.groupStarts,
      scalarsAt: listBytes + this.scalarsAt,
      block: packPatches(block),
      arena: packPatches(arena),
      leaves: packSlots(leaves),
      roots: packSlots(roots),
      arenaBytes: temporaries + this.workspaceBytes,
      scratchBytes: this.scratchBytes,
      statuses: this.statuses.map(({ at, decode }) => ({ at: listBytes + at, decode })),
    };
  }

  /** Appends words and returns their byte offset. */
  private write(words: readonly ArgWord[]): number {
    const at = this.reserve(words.length);
    words.forEach((word, i) => {
      if (typeof word === "number") this.words[at / 4 + i] = word | 0;
      else this.patches.push({ word: at / 4 + i, address: word as unknown as Address });
    });
    return at;
  }

  private reserve(count: number): number {
    const at = this.words.length;
    for (let i = alignUp(count, 4); i > 0; i--) this.words.push(0);
    return at * 4;
  }
}

const packPatches = (list: [number, number][]): Patches => ({
  words: Int32Array.from(list, ([word]) => word),
  offsets: Float64Array.from(list, ([, offset]) => offset),
});

const packSlots = (slots: Map<number, [number, number][]>): Map<number, Patches> =>
  new Map([...slots].map(([slot, list]) => [slot, packPatches(list)]));
