import type { DType } from "../dtype.js";
import { bug } from "../errors.js";
import type { OpDef } from "../op.js";
import { type Dims, sizeOf } from "../shape.js";
import type { Def, Expr } from "./expr.js";
import type { Instr, Load, LoopGroup, ReduceOp, Reduction, Value } from "./ir.js";
import { commonRefinement, isIdentity, reshapeView, type View } from "./view.js";

type PendingLoad =
  | { kind: "def"; def: Def; view: View }
  | { kind: "iota"; dtype: DType; view: View }
  | { kind: "scalar"; dtype: DType; slot: number };

interface PendingReduction {
  op: ReduceOp;
  register: Register;
  dtype: DType;
  value: Value;
}

/** Registers while the loop grows: loads count from 0 upwards, instructions from -1 downwards. */
type Register = number;

interface PendingInstr {
  op: OpDef;
  dtype: DType;
  sourceDtypes: DType[];
  sources: Register[];
  arg: unknown;
}

/** A fused loop under construction: nodes join it in the order in which they were made. */
export class LoopBuilder {
  /** Axes of the loop, without those of size 1; split further as nodes of finer shape join. */
  space: number[];
  reduced: boolean[] | null = null;
  /** Whether other nodes and loops may join. */
  readonly movable: boolean = true;
  private readonly loads: PendingLoad[] = [];
  private readonly code: PendingInstr[] = [];
  private readonly stores: { register: Register; value: Value }[] = [];
  private readonly reductions: PendingReduction[] = [];
  private readonly names: string[] = [];

  constructor(
    readonly at: number,
    readonly phase: number,
    dims: Dims,
  ) {
    this.space = dims.filter((n) => n !== 1);
  }

  get size(): number {
    return sizeOf(this.space);
  }
  get instructions(): number {
    return this.code.length;
  }
  get hasReductions(): boolean {
    return this.reductions.length > 0;
  }

  /** The space that would hold both this loop's axes and `dims`, or null. */
  fits(dims: Dims): number[] | null {
    return commonRefinement(this.space, dims);
  }

  /** Splits axes so that the loop's space is `space`, a refinement of the present one. */
  refine(space: number[]): void {
    if (this.reduced && space.length !== this.space.length) {
      const reduced: boolean[] = [];
      let old = 0;
      let left = this.space[0] ?? 1;
      for (const n of space) {
        reduced.push(this.reduced[old]!);
        left /= n;
        if (left === 1) left = this.space[++old] ?? 1;
      }
      this.reduced = reduced;
    }
    this.space = space;
  }

  /** Distinct stored values that the loop reads and writes so far. */
  bindings(): number {
    const seen = new Set<Def | Value>();
    for (const load of this.loads) if (load.kind === "def") seen.add(load.def);
    return seen.size + this.stores.length + this.reductions.length;
  }

  reads(def: Def): boolean {
    return this.loads.some((load) => load.kind === "def" && load.def === def);
  }

  /** Whether every read of a stored value is element by element, so that the loop may write over it. */
  readsOnlyInPlace(value: Value): boolean {
    return this.loads.every((l) => l.kind !== "def" || l.def.value !== value || isIdentity(l.view));
  }

  *loadedValues(): Generator<Value> {
    for (const load of this.loads) if (load.kind === "def") yield load.def.value!;
  }
  *writtenValues(): Generator<Value> {
    for (const { value } of this.stores) yield value;
    for (const { value } of this.reductions) yield value;
  }
  *storedValues(): Generator<Value> {
    for (const { value } of this.stores) yield value;
  }

  /** The register of an expression: of this loop already, or loaded, or computed by its formula. */
  emit(expr: Expr): Register {
    return this.lower(expr);
  }

  private lower(expr: Expr): Register {
    switch (expr.kind) {
      case "scalar":
        return this.load({ kind: "scalar", dtype: expr.dtype, slot: expr.slot });
      case "iota":
        return this.load({ kind: "iota", dtype: expr.dtype, view: expr.view });
      case "def":
        if (expr.def.loop === this) return expr.def.register;
        return this.load({ kind: "def", def: expr.def, view: expr.view });
      case "formula":
        return this.append(
          expr.op,
          expr.arg,
          expr.dtype,
          expr.sources.map((s) => this.lower(s)),
          expr.sources.map((s) => s.dtype),
        );
    }
  }

  append(op: OpDef, arg: unknown, dtype: DType, sources: Register[], sourceDtypes: DType[]): Register {
    this.code.push({ op, arg, dtype, sources, sourceDtypes });
    this.names.push(op.name);
    return -this.code.length;
  }

  store(register: Register, value: Value): void {
    this.stores.push({ register, value });
  }

  reduce(op: ReduceOp, register: Register, dtype: DType, value: Value): void {
    this.reductions.push({ op, register, dtype, value });
    this.names.push(op);
  }

  private load(wanted: PendingLoad): Register {
    const found = this.loads.findIndex((l) => sameLoad(l, wanted));
    return found >= 0 ? found : this.loads.push(wanted) - 1;
  }

  name(): string {
    const names = this.names.length ? this.names : ["copy"];
    return names.length > 6 ? `${names.slice(0, 5).join("+")}+${names.length - 5} more` : names.join("+");
  }

  /**
   * Takes in a loop over the same elements whose results only this loop reads, index by index: its code runs first, and
   * its results stay in registers.
   */
  absorb(other: LoopBuilder, space: number[]): void {
    this.refine(space);
    const own = { loads: this.loads.splice(0), code: this.code.splice(0) };
    for (const load of other.loads) this.loads.push(load);
    for (const c of other.code) this.code.push(c);
    const made = new Map<Value, Register>(other.stores.map((s) => [s.value, s.register]));
    const loadAt = own.loads.map((load): Register => {
      if (load.kind === "def" && load.def.value) {
        const register = made.get(load.def.value);
        if (register !== undefined) return register;
      }
      return this.load(load);
    });
    const shift = this.code.length;
    const moved = (r: Register): Register => (r >= 0 ? loadAt[r]! : r - shift);
    for (const c of own.code) this.code.push({ ...c, sources: c.sources.map(moved) });
    for (const s of this.stores) s.register = moved(s.register);
    for (const r of this.reductions) r.register = moved(r.register);
    this.names.unshift(...other.names);
  }

  /** Whether every read of `value` is index by index over the whole of it. */
  readsByIndex(value: Value): boolean {
    return this.loads.every(
      (l) =>
        l.kind !== "def" ||
        l.def.value !== value ||
        (isIdentity(l.view) && sizeOf(l.view.dims) === value.size),
    );
  }

  /**
   * Takes the load of `a` for the sum of `a` and `b`, if they are terms of one sum and nothing else; other terms may have been
   * added in between.
   *
   * @returns whether they are
   */
  joinSum(a: Value, b: Value): boolean {
    const { code } = this;
    const ends = [...this.stores, ...this.reductions];
    const used = [...ends.map((s) => s.register), ...code.flatMap((c) => c.sources)];
    const adder = (r: Register): number =>
      used.indexOf(r) < used.lastIndexOf(r)
        ? -1
        : code.findIndex((c) => c.op.name === "add" && c.sources.includes(r));
    const total = (r: Register): Register => (adder(r) < 0 ? r : total(-adder(r) - 1));
    const [x, y] = [a, b].map((v) => this.loads.findIndex((l) => l.kind === "def" && l.def.value === v));
    if (total(x!) !== total(y!)) return false;
    // The addition of b is gone, and the load of it.
    const gone = -adder(y!) - 1;
    const [{ sources }] = code.splice(adder(y!), 1) as [PendingInstr];
    const other = sources.find((r) => r !== y)!;
    const moved = (r: Register): Register =>
      r === gone ? moved(other) : r < gone ? r + 1 : r > y! ? r - 1 : r;
    this.names.splice(this.names.indexOf("add"), 1);
    this.loads.splice(y!, 1);
    for (const c of code) c.sources = c.sources.map(moved);
    for (const s of ends) s.register = moved(s.register);
    return true;
  }

  /** Where a loop that only copies a value puts it. */
  copied(): Value | undefined {
    const { loads, code, stores, reductions } = this;
    return loads.length + code.length + stores.length + reductions.length === 2
      ? stores[0]?.value
      : undefined;
  }

  /** The finished loop, with axes merged where every load allows. */
  build(): LoopGroup {
    const views = this.loads.map((l) => (l.kind === "scalar" ? null : strided(l.view, this.space)));
    const reduced = this.reduced ?? this.space.map(() => false);
    const axes: number[] = [];
    const flags: boolean[] = [];
    const strides: number[][] = views.map(() => []);
    for (let d = 0; d < this.space.length; d++) {
      const n = this.space[d]!;
      const last = axes.length - 1;
      const mergeable =
        last >= 0 &&
        flags[last] === reduced[d] &&
        views.every((v, i) => !v || strides[i]![last] === v.strides[d]! * n);
      if (mergeable) {
        axes[last] = axes[last]! * n;
        for (const [i, v] of views.entries()) if (v) strides[i]![last] = v.strides[d]!;
      } else {
        axes.push(n);
        flags.push(reduced[d]!);
        for (const [i, v] of views.entries()) if (v) strides[i]!.push(v.strides[d]!);
      }
    }
    const loads = this.loads.map((l, i): Load => {
      if (l.kind === "scalar") return l;
      const at = { offset: views[i]!.offset, strides: strides[i]! };
      return l.kind === "iota"
        ? { kind: "iota", dtype: l.dtype, ...at }
        : { kind: "value", value: l.def.value ?? bug("a loop reads a value that was never stored"), ...at };
    });
    const renumber = (r: Register) => (r >= 0 ? r : loads.length - r - 1);
    return {
      kind: "loop",
      name: this.name(),
      space: axes,
      reduced: flags,
      loads,
      code: this.code.map((c): Instr => ({ ...c, sources: c.sources.map(renumber) })),
      stores: this.stores.map((s) => ({ register: renumber(s.register), value: s.value })),
      reductions: this.reductions.map((r): Reduction => ({ ...r, register: renumber(r.register) })),
    };
  }
}

function strided(view: View, space: Dims): View {
  return reshapeView(view, space) ?? bug(`a view of [${view.dims}] does not split into [${space}]`);
}

function sameLoad(a: PendingLoad, b: PendingLoad): boolean {
  if (a.kind === "scalar") return b.kind === "scalar" && a.slot === b.slot && a.dtype === b.dtype;
  if (a.kind === "def" ? b.kind !== "def" || a.def !== b.def : b.kind !== "iota" || a.dtype !== b.dtype)
    return false;
  const [u, v] = [a.view, (b as { view: View }).view];
  if (u.offset !== v.offset) return false;
  const moved = reshapeView(u, v.dims);
  return moved?.strides.every((s, d) => s === v.strides[d] || v.dims[d] === 1) ?? false;
}
