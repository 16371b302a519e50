import {
  bug,
  type DType,
  dtypeBytes,
  type Instr,
  type Load,
  type LoopGroup,
  type Value,
} from "@lowrank/tensor/backend";
import * as at from "../assembly/loop-ops.js";
import { LoopOp } from "../assembly/loop-ops.js";
import { classOf, roundingOf, stepsOf } from "./emit-loop-opcodes.js";
import { gatherStretches, type StretchLine } from "./emit-loop-stretches.js";

/** A register of the program before it gets a slot. */
export interface Register {
  /** Elements of 8 bytes. */
  readonly wide: boolean;
  /** Index of the scalar load that fills it once, -1 for the zeros, or null for a block. */
  readonly constant: number | null;
  slot: number;
}

/** An instruction of the interpreter. */
export interface Line {
  readonly op: LoopOp;
  readonly target: Register | null;
  readonly sources: readonly Register[];
  /** Of a load, its index. */
  readonly load: number;
  /** Index of the store that it writes, plus 1. */
  store: number;
  flags: number;
  /** Of code, what it does; `sources` are its inputs. */
  readonly stretch?: StretchLine;
}

export interface Program {
  readonly lines: readonly Line[];
  /** Registers that are filled once. */
  readonly constants: readonly Register[];
  /** The register of each reduction. */
  readonly reduced: readonly Register[];
  /** Slots in all, and those of them that hold blocks. */
  readonly slots: number;
  readonly blockSlots: number;
  /** Whether any block has elements of 8 bytes. */
  readonly wide: boolean;
}

/**
 * Turns a loop into a program: loads just before their first use, conversions, stores, slots by liveness; with `coded`,
 * operations gathered into stretches for which code is made.
 */
export function buildProgram(group: LoopGroup, coded: boolean): Program {
  const first = new ProgramBuilder(group, new Set()).build();
  // A load that is read again after its memory was written must be copied before.
  const late = lateLoads(group, first);
  const draft = late.size ? new ProgramBuilder(group, late).build() : first;
  return assignSlots(coded ? { ...draft, lines: gatherStretches(draft.lines, draft.reduced) } : draft);
}

interface Draft {
  readonly lines: Line[];
  readonly constants: Register[];
  readonly reduced: Register[];
}

class ProgramBuilder {
  private readonly lines: Line[] = [];
  private readonly constants: Register[] = [];
  private readonly zero: Register;
  /** Register of the loop's loads and instructions by number. */
  private readonly registers: (Register | undefined)[];
  private readonly maker = new Map<Register, Line>();

  constructor(
    private readonly group: LoopGroup,
    private readonly copied: ReadonlySet<number>,
  ) {
    this.registers = new Array(group.loads.length + group.code.length).fill(undefined);
    this.zero = this.constant(-1, false);
  }

  build(): Draft {
    const { loads, code, stores, reductions } = this.group;
    for (const load of this.copied) this.register(load);
    const skipped = fusedProducts(this.group);
    code.forEach((instr, i) => {
      if (!skipped.has(i)) this.instruction(instr, loads.length + i, skipped);
    });
    stores.forEach((store, i) => this.store(this.register(store.register), store.value, i));
    const reduced = reductions.map((r) => this.full(this.register(r.register)));
    return { lines: this.lines, constants: this.constants, reduced };
  }

  private constant(load: number, wide: boolean): Register {
    const register = { wide, constant: load, slot: -1 };
    this.constants.push(register);
    return register;
  }

  private block(wide: boolean): Register {
    return { wide, constant: null, slot: -1 };
  }

  private line(op: LoopOp, target: Register | null, sources: readonly Register[], load = -1): Line {
    const line: Line = { op, target, sources, load, store: 0, flags: target?.wide ? at.FLAG_WIDE : 0 };
    this.lines.push(line);
    if (target) this.maker.set(target, line);
    return line;
  }

  /** The register of a load, loaded at its first use, or of an instruction. */
  private register(number: number): Register {
    const known = this.registers[number];
    if (known) return known;
    const load =
      this.group.loads[number] ?? bug(`${this.group.name} reads register ${number} before it is written`);
    const dtype = load.kind === "value" ? load.value.dtype : load.dtype;
    const wide = dtype === "f64";
    let register: Register;
    if (load.kind === "scalar") register = this.constant(number, wide);
    else {
      register = this.block(wide);
      const line = this.line(LoopOp.Load, register, [], number);
      if (this.copied.has(number)) line.flags |= at.FLAG_COPY;
      const computed = load.kind === "iota" || (load.kind === "value" && load.value.home.kind === "none");
      const fix = computed ? roundingOf(dtype) : undefined;
      if (fix !== undefined) {
        const rounded = this.block(false);
        this.line(fix, rounded, [register]);
        register = rounded;
      }
    }
    this.registers[number] = register;
    return register;
  }

  private instruction(instr: Instr, number: number, products: ReadonlyMap<number, Instr>): void {
    const sum = fusedSum(instr, this.group, products);
    if (sum) {
      const sources = sum.map((n) => this.register(n));
      const target = this.block(false);
      this.line(LoopOp.MaddF, target, sources);
      this.registers[number] = target;
      return;
    }
    const sources = instr.sources.map((n) => this.register(n));
    let last = sources[0]!;
    const steps = [...stepsOf(instr)];
    // A store rounds halves and wraps bytes itself.
    if (steps.length > 0 && steps.at(-1)!.op === roundingOf(instr.dtype) && this.onlyStored(number))
      steps.pop();
    for (const step of steps) {
      const target = this.block(isWide(step.op));
      const from = step.sources.map((s) => (s === "last" ? last : s === "zero" ? this.zero : sources[s]!));
      this.line(step.op, target, from);
      last = target;
    }
    this.registers[number] = last;
  }

  /** Whether nothing but stores reads a register of the loop. */
  private onlyStored(number: number): boolean {
    const { code, reductions } = this.group;
    return !code.some((c) => c.sources.includes(number)) && !reductions.some((r) => r.register === number);
  }

  /** A register with a number for every element. */
  private full(register: Register): Register {
    if (register.constant === null) {
      this.maker.get(register)!.flags |= at.FLAG_FULL;
      return register;
    }
    const target = this.block(register.wide);
    const line = register.wide
      ? this.line(LoopOp.WhereD, target, [this.zero, register, register])
      : this.line(LoopOp.Or, target, [register, register]);
    line.flags |= at.FLAG_FULL;
    return target;
  }

  private store(register: Register, value: Value, index: number): void {
    const from = this.full(register);
    const maker = this.maker.get(from)!;
    const direct = dtypeBytes(value.dtype) >= 4 && value.dtype !== "bool";
    if (direct && maker.store === 0) {
      maker.store = index + 1;
      if (maker.op === LoopOp.Load) maker.flags |= at.FLAG_COPY;
      return;
    }
    this.line(LoopOp.Store, null, [from]).store = index + 1;
  }
}

const isWide = (op: LoopOp): boolean => {
  const name = LoopOp[op];
  return name.endsWith("D") && !["EqD", "NeD", "LtD", "LeD"].includes(name);
};

/** Products that are used only by one sum after them: a · b + c is one instruction. By index into the code. */
function fusedProducts(group: LoopGroup): Map<number, Instr> {
  const { loads, code, stores, reductions } = group;
  const uses = new Array<number>(loads.length + code.length).fill(0);
  for (const { sources } of code) for (const s of sources) uses[s]!++;
  for (const { register } of [...stores, ...reductions]) uses[register]! += 2;
  const found = new Map<number, Instr>();
  for (const instr of code) {
    if (instr.op.name !== "add" || instr.dtype !== "f32") continue;
    for (const source of instr.sources) {
      const product = code[source - loads.length];
      if (product?.op.name === "mul" && product.dtype === "f32" && uses[source] === 1) {
        found.set(source - loads.length, product);
        break;
      }
    }
  }
  return found;
}

/** The three source registers of a sum with a fused product. */
function fusedSum(instr: Instr, { loads }: LoopGroup, products: ReadonlyMap<number, Instr>): number[] | null {
  if (instr.op.name !== "add" || instr.dtype !== "f32") return null;
  for (let i = 0; i < 2; i++) {
    const product = products.get(instr.sources[i]! - loads.length);
    if (product) return [...product.sources, instr.sources[1 - i]!];
  }
  return null;
}

function overlaps(a: Value, b: Value): boolean {
  const [x, y] = [a.home, b.home];
  if (x.kind !== y.kind || x.kind === "none") return false;
  if (x.kind !== "temp") return x.slot === (y as { slot: number }).slot;
  const [p, q] = [x.offset, (y as { offset: number }).offset];
  return p < q + b.size * dtypeBytes(b.dtype) && q < p + a.size * dtypeBytes(a.dtype);
}

/** Loads whose memory is read after a store has written there. */
function lateLoads(group: LoopGroup, { lines, reduced }: Draft): Set<number> {
  const late = new Set<number>();
  group.loads.forEach((load, number) => {
    if (load.kind !== "value") return;
    const made = lines.findIndex((line) => line.op === LoopOp.Load && line.load === number);
    if (made < 0) return;
    const target = lines[made]!.target!;
    let last = made;
    lines.forEach((line, i) => {
      if (line.sources.includes(target)) last = i;
    });
    if (reduced.includes(target)) last = lines.length;
    const written = lines.findIndex(
      ({ store }) => store > 0 && overlaps(load.value, group.stores[store - 1]!.value),
    );
    if (written >= 0 && written < last) late.add(number);
  });
  return late;
}

/** Gives every register a slot; a slot is free again after the last use of what is in it. */
function assignSlots({ lines, constants, reduced }: Draft): Program {
  const last = new Map<Register, number>();
  lines.forEach((line, i) => {
    for (const source of line.sources) last.set(source, i);
  });
  for (const register of reduced) last.set(register, lines.length);
  constants.forEach((register, i) => (register.slot = i));
  let slots = constants.length;
  let wide = false;
  const free: number[] = [];
  const release = (register: Register) => {
    if (register.constant === null) free.push(register.slot);
  };
  lines.forEach(({ target, sources, stretch }, i) => {
    const ending = [...new Set(sources)].filter((s) => last.get(s) === i);
    const targets = stretch ? stretch.outputs.map(({ register }) => register) : target ? [target] : [];
    const size = targets[0]?.wide;
    // A result may take the place of a source with elements of its size, since each element is read before it is
    // written.
    for (const source of ending) if (source.wide === size) release(source);
    for (const register of targets) {
      register.slot = free.pop() ?? slots++;
      wide ||= register.wide;
    }
    for (const register of targets) if (!last.has(register)) free.push(register.slot);
    for (const source of ending) if (source.wide !== size) release(source);
  });
  return { lines, constants, reduced, slots, blockSlots: slots - constants.length, wide };
}

/** Kinds of loads: the dtype of a value, or how an index is written. */
export function loadKind(load: Load, dtypeIds: Record<DType, number>): number {
  if (load.kind === "value") return dtypeIds[load.value.dtype];
  const kind = classOf(load.dtype);
  return kind === "D" ? at.LOAD_IOTA_F64 : kind === "F" ? at.LOAD_IOTA_F32 : at.LOAD_IOTA_I32;
}
