import type { DType } from "../dtype.js";
import { bug } from "../errors.js";
import type { Graph } from "../graph.js";
import type { Node } from "../node.js";
import { internArg, opId } from "../op.js";
import { sizeOf } from "../shape.js";
import { Tensor } from "../tensor.js";
import type { Def, Expr } from "./expr.js";
import { defsOf, moveExpr } from "./expr.js";
import { finish } from "./finish.js";
import type { KernelGroup, ReduceOp, ScalarSource, Schedule, Target, Value } from "./ir.js";
import { LoopBuilder } from "./loop-builder.js";
import { oneRun, PermutedLoop, spread } from "./reduction-axes.js";
import { layoutFits, siteOf } from "./site.js";
import { identityView, isIdentity, type View } from "./view.js";

/** Operations of a formula that each reader computes for itself rather than load it. */
const MAX_FORMULA = 4;
/** Leaves that such a formula reads; more is worth storing. */
const MAX_FORMULA_LOADS = 1;
/** How many of the latest loops a node may join as a sibling. */
const SIBLING_WINDOW = 6;
/** Ops too dear to be computed more than once. */
const DEAR = /* @__PURE__ */ new Set(
  "exp expm1 log log1p sin cos tan asin acos atan atan2 sinh cosh tanh sigmoid erf erfinv pow threefry".split(
    " ",
  ),
);

/** A kernel call while its operands may still get their place in memory. */
export interface KernelStep {
  readonly kind: "kernel";
  readonly at: number;
  readonly group: KernelGroup;
  /** The loop that takes the kernel's output from it. */
  readonly epilogue?: LoopBuilder;
}

export type Step = LoopBuilder | KernelStep;

/**
 * Turns a graph into groups: views become index arithmetic, element-wise chains share a loop with their neighbours and
 * with the reductions that end them, composites become kernels where the target has one and their meaning elsewhere,
 * temporaries get a place in one arena.
 *
 * Nodes are taken in the order in which they were made. An element-wise node joins the loop that made the last of its
 * inputs, if it reads that loop's results index by index; since groups only depend on earlier groups, no cycle can
 * arise, and every value is computed once. Nodes of different phases (forward, backward, recomputed) never share a loop,
 * so that what the backward pass is to compute again does not slip into the forward pass and stay alive.
 */
export function schedule(graph: Graph, target: Target): Schedule {
  return new Scheduler(graph, target).run();
}

class Scheduler {
  readonly steps: Step[] = [];
  readonly values: Value[] = [];
  readonly scalars: ScalarSource[] = [];
  private readonly exprs = new Map<Node, Expr>();
  /** Results of kernels with several outputs. */
  private readonly multi = new Map<Node, Expr[]>();
  /** Results of expanded composites with several outputs, scheduled when they are read. */
  private readonly expanded = new Map<Node, readonly Node[]>();
  private readonly shared = new Map<string, Node>();
  private readonly same = new Map<Node, Node>();
  private readonly leafSlots = new Map<Node, number>();
  private readonly scalarSlots = new Map<Node, number>();

  constructor(
    private readonly graph: Graph,
    private readonly target: Target,
  ) {
    for (const [slot, node] of graph.leaves.entries()) this.leafSlots.set(node, slot);
    for (const [slot, node] of graph.scalars.entries()) this.scalarSlots.set(node, slot);
  }

  run(): Schedule {
    const roots = this.graph.roots.map((r) => this.through(r.node));
    this.visitAll(roots);
    const rootDefs = this.graph.roots.map((r) => this.rootDef(r.node));
    return finish(this, this.graph, this.target, rootDefs);
  }

  /** Handles every live node between stored values and `roots`, in the order of creation. */
  private visitAll(roots: readonly Node[]): void {
    const found: Node[] = [];
    const seen = new Set<Node>();
    const stack = [...roots];
    while (stack.length) {
      const node = stack.pop()!;
      if (seen.has(node) || this.isDone(node)) continue;
      seen.add(node);
      found.push(node);
      if (!this.isLeaf(node)) for (const s of node.sources) stack.push(this.through(s));
    }
    found.sort((a, b) => a.id - b.id);
    for (const node of found) if (!this.isDone(node)) this.visit(node);
  }

  private isDone(node: Node): boolean {
    return this.exprs.has(node) || this.multi.has(node) || this.expanded.has(node);
  }

  private isLeaf(node: Node): boolean {
    return this.leafSlots.has(node) || node.op.kind === "leaf";
  }

  /** The node whose value this one hands through. */
  private through(node: Node): Node {
    for (;;) {
      if (this.isLeaf(node)) return node;
      const { name } = node.op;
      if (name === "alias" || name === "stopGradient") node = node.sources[0]!;
      else if (name === "pick" && node.sources[0]!.op.kind === "movement") {
        const pass = node.sources[0]!;
        const { lead } = pass.arg as { lead: number };
        node = pass.sources[lead + (node.arg as number)]!;
      } else return this.same.get(node) ?? node;
    }
  }

  private read(node: Node): Expr {
    return this.exprs.get(this.through(node)) ?? bug(`${node.op.name} was read before it was scheduled`);
  }

  private visit(node: Node): void {
    if (this.isLeaf(node)) {
      this.exprs.set(node, this.leaf(node));
      return;
    }
    // Equal ops on equal sources are one value, within a phase.
    if (node.argId < 0 && node.op.name !== "pick") node.argId = internArg(node.op, node.arg);
    const sources = node.sources.map((s) => this.through(s).id).join();
    const arg = node.op.name === "pick" ? node.arg : node.argId;
    const key = `${opId(node.op)}|${arg}|${node.dtype}|${node.shape.id}|${node.phase}|${sources}`;
    const twin = this.shared.get(key);
    if (twin) {
      this.same.set(node, twin);
      return;
    }
    this.shared.set(key, node);
    switch (node.op.kind) {
      case "elementwise":
        this.exprs.set(node, this.elementwise(node));
        break;
      case "movement":
        this.exprs.set(node, this.movement(node));
        break;
      case "reduce":
        this.exprs.set(node, this.reduce(node));
        break;
      case "kernel":
        this.kernel(node);
        break;
      case "composite":
        if (this.target.supports(siteOf(node))) this.kernel(node);
        else this.expand(node);
        break;
      default:
        bug(`${node.op.name} is a leaf without a value`);
    }
  }

  private leaf(node: Node): Expr {
    const dims = node.shape.dims;
    const leafSlot = this.leafSlots.get(node);
    if (leafSlot !== undefined) {
      const value = this.value(node, node.dtype, dims);
      value.home = { kind: "leaf", slot: leafSlot };
      const def: Def = { node, dtype: node.dtype, dims, at: -1, loop: null, register: 0, value };
      return { kind: "def", dtype: node.dtype, dims, def, view: identityView(dims) };
    }
    if (node.op.name === "scalar") {
      const slot = this.scalarSlots.get(node);
      const source: ScalarSource =
        slot === undefined
          ? { kind: "constant", value: node.arg as number, dtype: node.dtype }
          : { kind: "slot", slot, dtype: node.dtype };
      return { kind: "scalar", dtype: node.dtype, dims, slot: this.scalars.push(source) - 1 };
    }
    if (node.op.name === "iota") return { kind: "iota", dtype: node.dtype, dims, view: identityView(dims) };
    return bug(`leaf ${node.op.name} without a value`);
  }

  private elementwise(node: Node): Expr {
    const { op, arg, dtype } = node;
    const dims = node.shape.dims;
    const sources = node.sources.map((s) => this.read(s));
    if (sources.every((s) => s.kind === "scalar") && op.scalar) {
      const slots = sources.map((s) => (s as { slot: number }).slot);
      const formula: ScalarSource = { kind: "formula", op, sources: slots, dtype, arg };
      return { kind: "scalar", dtype, dims, slot: this.scalars.push(formula) - 1 };
    }
    const formula = this.formula(node, sources);
    if (formula) return formula;
    for (const s of sources) for (const { def, view } of defsOf(s)) this.storeUnlessJoined(def, view);
    const loop = this.loopFor(node, dims, sources);
    const registers = sources.map((s) => loop.emit(s));
    const register = loop.append(
      op,
      arg,
      dtype,
      registers,
      sources.map((s) => s.dtype),
    );
    const def: Def = { node, dtype, dims, at: loop.at, loop, register, value: null };
    return { kind: "def", dtype, dims, def, view: identityView(dims) };
  }

  /** A node cheap enough for every reader to compute: few simple ops on scalars, indices and at most one leaf. */
  private formula(node: Node, sources: readonly Expr[]): Expr | null {
    if (DEAR.has(node.op.name)) return null;
    const { op, arg, dtype } = node;
    const dims = node.shape.dims;
    let loads = 0;
    for (const s of sources) {
      for (const { def } of defsOf(s)) {
        // Beside leaves, half values that a kernel made: whoever reads them widens them.
        const widening = op.name === "cast" && def.loop === null && isHalf(def.dtype);
        if ((def.at !== -1 && !widening) || ++loads > MAX_FORMULA_LOADS) return null;
      }
    }
    const cost = sources.reduce((sum, s) => sum + (s.kind === "formula" ? s.cost : 0), 1);
    return cost <= MAX_FORMULA ? { kind: "formula", dtype, dims, op, arg, sources, cost } : null;
  }

  private movement(node: Node): Expr {
    if (node.op.name === "pick") return this.pick(node);
    const source = this.read(node.sources[0]!);
    return (
      moveExpr(source, node) ??
      moveExpr(this.stored(node.sources[0]!), node) ??
      bug(`${node.op.name} cannot move a stored value`)
    );
  }

  private reduce(node: Node): Expr {
    const source = this.read(node.sources[0]!);
    const { axes } = node.arg as { axes: readonly number[] };
    const from = source.dims;
    const loop = this.reductionLoop(node, source, axes);
    const register = loop.emit(source);
    const value = this.value(node, node.dtype, node.shape.dims);
    loop.reduce(node.op.name as ReduceOp, register, node.dtype, value);
    const def: Def = {
      node,
      dtype: node.dtype,
      dims: node.shape.dims,
      at: loop.at,
      loop: null,
      register: 0,
      value,
    };
    if (from.length !== node.shape.dims.length) bug("a reduction changed its rank");
    return {
      kind: "def",
      dtype: node.dtype,
      dims: node.shape.dims,
      def,
      view: identityView(node.shape.dims),
    };
  }

  /** A loop that reduces `source`: the one that made it, or a new one with the reduced axes in one run. */
  private reductionLoop(node: Node, source: Expr, axes: readonly number[]): LoopBuilder {
    const mask = source.dims.map((_, d) => axes.includes(d));
    if (source.kind === "def") {
      const loop = source.def.loop;
      const space = loop && isIdentity(source.view) ? loop.fits(source.dims) : null;
      if (loop && space && loop.phase === node.phase && oneRun(source.dims, mask) && loop.size > 0) {
        const reduced = spread(source.dims, mask, space);
        const before = loop.reduced && space.length === loop.space.length ? loop.reduced : null;
        if (reduced && (!loop.hasReductions || before?.every((r, d) => r === reduced[d]))) {
          loop.refine(space);
          loop.reduced = reduced;
          return loop;
        }
      }
    }
    for (const { def } of defsOf(source)) this.ensureStored(def);
    if (oneRun(source.dims, mask)) {
      const loop = this.newLoop(node.phase, source.dims);
      loop.reduced = mask.filter((_, d) => source.dims[d] !== 1);
      return loop;
    }
    // Kept axes first, so that the reduced ones are the innermost run.
    return this.permutedReduction(node, source, mask);
  }

  private permutedReduction(node: Node, source: Expr, mask: readonly boolean[]): LoopBuilder {
    const order = [...mask.keys()].filter((d) => !mask[d]).concat([...mask.keys()].filter((d) => mask[d]));
    const dims = order.map((d) => source.dims[d]!);
    const loop = new PermutedLoop(this.steps.length, node.phase, dims, order);
    loop.reduced = order.filter((d) => source.dims[d] !== 1).map((d) => mask[d]!);
    this.steps.push(loop);
    return loop;
  }

  private kernel(node: Node): void {
    const { op, arg } = node;
    const inputs = node.sources.map((s, i): KernelGroup["inputs"][number] => {
      let expr = this.read(s);
      if (expr.kind === "scalar" && op.scalarInputs?.includes(i))
        return { scalarSlot: expr.slot, dtype: expr.dtype };
      // A cast of a stored half value is left to a kernel that widens as it reads.
      if (expr.kind === "formula" && expr.op.name === "cast" && this.target.widens(op, i)) {
        const inner = expr.sources[0]!;
        if (inner.kind === "def" && isHalf(inner.dtype) && expr.dtype === "f32") {
          expr = inner;
        }
      }
      if (expr.kind !== "def" || !layoutFits(this.target.layout(op, i), expr.view)) expr = this.stored(s);
      if (expr.kind !== "def") return bug("a stored value is no def");
      const value = this.ensureStored(expr.def);
      const { offset, strides } = expr.view;
      return { value, dtype: expr.dtype, dims: expr.dims, offset, strides };
    });
    const at = this.steps.length;
    const outs = node.outputs ?? [{ dtype: node.dtype, shape: node.shape }];
    const values = outs.map((o) => this.value(node, o.dtype, o.shape.dims));
    const group: KernelGroup = { kind: "kernel", name: op.name, op, arg, inputs, outputs: values };
    this.steps.push({ kind: "kernel", at, group });
    const exprs = outs.map((o, i): Expr => {
      const dims = o.shape.dims;
      const def: Def = { node, dtype: o.dtype, dims, at, loop: null, register: 0, value: values[i]! };
      return { kind: "def", dtype: o.dtype, dims, def, view: identityView(dims) };
    });
    if (node.outputs) this.multi.set(node, exprs);
    else this.exprs.set(node, exprs[0]!);
  }

  /** Replaces a composite by its meaning. */
  private expand(node: Node): void {
    const { meaning } = node.op;
    if (!meaning) bug(`composite ${node.op.name} has no meaning`);
    const sources = node.sources.map((s) => new Tensor(this.through(s)));
    const results = meaning(sources, node.arg);
    const outs = [results].flat().map((t) => t.node);
    if (node.outputs) {
      this.expanded.set(node, outs);
      return;
    }
    this.visitAll([this.through(outs[0]!)]);
    this.exprs.set(node, this.read(outs[0]!));
  }

  private pick(node: Node): Expr {
    const source = this.through(node.sources[0]!);
    const index = node.arg as number;
    const exprs = this.multi.get(source);
    if (exprs) return exprs[index]!;
    const out = this.expanded.get(source)?.[index] ?? bug(`${source.op.name} has no output ${index}`);
    this.visitAll([this.through(out)]);
    return this.read(out);
  }

  /** The value of a node in memory, row-major; copied if it is a view or a formula. */
  private stored(node: Node): Expr {
    const at = this.through(node);
    const expr = this.read(at);
    if (expr.kind === "def" && isIdentity(expr.view) && sizeOf(expr.dims) === sizeOf(expr.def.dims)) {
      this.ensureStored(expr.def);
      return expr.view.dims === expr.dims ? expr : { ...expr, view: identityView(expr.dims) };
    }
    const copy = this.copy(at, expr);
    this.exprs.set(at, copy);
    return copy;
  }

  private copy(node: Node, expr: Expr): Expr {
    for (const { def } of defsOf(expr)) this.ensureStored(def);
    const loop = this.newLoop(node.phase, expr.dims);
    const register = loop.emit(expr);
    const value = this.value(node, expr.dtype, expr.dims);
    loop.store(register, value);
    const def: Def = { node, dtype: expr.dtype, dims: expr.dims, at: loop.at, loop, register, value };
    return { kind: "def", dtype: expr.dtype, dims: expr.dims, def, view: identityView(expr.dims) };
  }

  private rootDef(node: Node): Def {
    const expr = this.stored(node);
    if (expr.kind !== "def") return bug("a root has no value");
    return expr.def;
  }

  private ensureStored(def: Def): Value {
    if (!def.value) {
      def.value = this.value(def.node, def.dtype, def.dims);
      def.loop!.store(def.register, def.value);
    }
    return def.value;
  }

  /** A value read other than index by index must be in memory, whoever reads it. */
  private storeUnlessJoined(def: Def, view: View): void {
    if (!isIdentity(view)) this.ensureStored(def);
  }

  /** The loop that an element-wise node joins, or a new one. */
  private loopFor(node: Node, dims: readonly number[], sources: readonly Expr[]): LoopBuilder {
    const reads = sources.flatMap((s) => [...defsOf(s)]);
    let last = -1;
    for (const { def } of reads) last = Math.max(last, def.at);
    const maker = last >= 0 ? this.steps[last]! : null;
    const candidates: LoopBuilder[] = [];
    if (
      maker instanceof LoopBuilder &&
      reads.every(({ def, view }) => def.at < last || (def.loop && isIdentity(view)))
    ) {
      candidates.push(maker);
    }
    const from = Math.max(last + 1, this.steps.length - SIBLING_WINDOW);
    for (let i = this.steps.length - 1; i >= from; i--) {
      const step = this.steps[i]!;
      if (step instanceof LoopBuilder && reads.some(({ def }) => step.reads(def))) candidates.push(step);
    }
    for (const loop of candidates) {
      if (!loop.movable || loop.phase !== node.phase) continue;
      if (loop.instructions >= this.target.maxInstructions) continue;
      const space = loop.fits(dims);
      if (!space) continue;
      const fresh = reads.filter(({ def }) => def.loop !== loop && !loop.reads(def)).length;
      if (loop.bindings() + fresh + 1 > this.target.maxBindings) continue;
      if (loop.hasReductions && space.length !== loop.space.length && loop.size === 0) continue;
      loop.refine(space);
      for (const { def } of reads) if (def.loop !== loop) this.ensureStored(def);
      return loop;
    }
    for (const { def } of reads) this.ensureStored(def);
    return this.newLoop(node.phase, dims);
  }

  private newLoop(phase: number, dims: readonly number[]): LoopBuilder {
    const loop = new LoopBuilder(this.steps.length, phase, dims);
    this.steps.push(loop);
    return loop;
  }

  value(node: Node, dtype: Value["dtype"], dims: Value["dims"]): Value {
    const value: Value = {
      id: this.values.length,
      dtype,
      dims,
      size: sizeOf(dims),
      home: { kind: "temp", offset: -1 },
      node,
    };
    this.values.push(value);
    return value;
  }
}

const isHalf = (dtype: DType): boolean => dtype === "f16" || dtype === "bf16";
