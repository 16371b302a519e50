import { dtypeBytes } from "../dtype.js";
import type { Graph } from "../graph.js";
import { type Interval, planArena } from "./arena.js";
import type { Def } from "./expr.js";
import { fuseEpilogues } from "./epilogue.js";
import type { Group, KernelGroup, ScalarSource, Schedule, Target, Value } from "./ir.js";
import { joinProducts } from "./join-products.js";
import { LoopBuilder } from "./loop-builder.js";
import type { KernelStep, Step } from "./schedule.js";
import { bytesOf, loopOf, makersOf, mayStoreOver, operands, readBy, readersOf, writtenBy } from "./steps.js";
import { identityView, isIdentity } from "./view.js";

/** What the scheduler hands over once every node has its group. */
export interface Draft {
  readonly steps: Step[];
  readonly values: Value[];
  readonly scalars: ScalarSource[];
  value(node: Value["node"], dtype: Value["dtype"], dims: Value["dims"]): Value;
}

/**
 * Moves a loop into the one loop that reads its results, where that lengthens no lifetime: the values that it is the last
 * to read are no more than those it would have stored.
 */
function sinkLoops(draft: Draft, target: Target, rootDefs: readonly Def[]): void {
  const roots = new Set(rootDefs.map((d) => d.value));
  const readers = readersOf(draft.steps);
  const dead = new Set<Step>();
  for (const [here, step] of draft.steps.entries()) {
    if (!(step instanceof LoopBuilder) || step.hasReductions || !step.movable) continue;
    const outputs = [...step.storedValues()];
    const into = new Set(outputs.flatMap((v) => readers.get(v) ?? []));
    if (into.size !== 1 || outputs.some((v) => roots.has(v))) continue;
    const at = [...into][0]!;
    const reader = draft.steps[at]!;
    if (!(reader instanceof LoopBuilder) || !reader.movable || reader.size !== step.size || step.size === 0)
      continue;
    if (reader.instructions + step.instructions > target.maxInstructions) continue;
    if (reader.bindings() + step.bindings() > target.maxBindings) continue;
    const space = reader.fits(step.space);
    if (!space || !outputs.every((v) => reader.readsByIndex(v))) continue;
    const inputs = new Set(step.loadedValues());
    const ending = [...inputs].filter((v) => {
      const last = Math.max(...readers.get(v)!);
      return v.home.kind === "temp" && last === here && v.size * 4 >= step.size;
    });
    if (ending.length > outputs.length) continue;
    reader.absorb(step, space);
    dead.add(step);
    for (const v of inputs) readers.set(v, [...readers.get(v)!.filter((r) => r !== here), at]);
  }
  if (dead.size === 0) return;
  const kept = draft.steps.filter((s) => !dead.has(s));
  draft.steps.splice(0, draft.steps.length, ...kept);
}

/** Gives roots and parameters their memory, plans the arena, and freezes the groups. */
export function finish(draft: Draft, graph: Graph, target: Target, rootDefs: readonly Def[]): Schedule {
  // Products that are joined leave fewer loops between the others; sinking brings more sums together.
  joinProducts(draft.steps, target, rootDefs);
  sinkLoops(draft, target, rootDefs);
  joinProducts(draft.steps, target, rootDefs);
  fuseEpilogues(draft.steps, target, graph, rootDefs);
  const readers = readersOf(draft.steps);
  const makers = makersOf(draft.steps);
  const cellValues = new Map<number, Value>();
  for (const value of draft.values) if (value.home.kind === "leaf") cellValues.set(value.home.slot, value);

  // A leaf that is itself a root is read by a copy behind everything else.
  for (const { value } of rootDefs) {
    if (value?.home.kind === "leaf") readers.set(value, [...(readers.get(value) ?? []), draft.steps.length]);
  }

  const endCopies: { from: Value; to: Value }[] = [];
  for (const [slot, root] of graph.roots.entries()) {
    const def = rootDefs[slot]!;
    const value = def.value!;
    if (root.cellSlot < 0) {
      if (value.home.kind === "temp") value.home = { kind: "root", slot };
      else {
        const to = draft.value(root.node, value.dtype, value.dims);
        to.home = { kind: "root", slot };
        endCopies.push({ from: value, to });
      }
    }
  }
  for (const root of graph.roots) {
    if (root.cellSlot < 0) continue;
    const def = rootDefs[graph.roots.indexOf(root)]!;
    const value = def.value!;
    const old = cellValues.get(root.cellSlot);
    if (value.home.kind === "temp" && mayOverwrite(draft, target, readers, makers.get(value), value, old)) {
      value.home = { kind: "leaf", slot: root.cellSlot };
    } else {
      const to = draft.value(root.node, value.dtype, value.dims);
      to.home = { kind: "leaf", slot: root.cellSlot };
      endCopies.push({ from: value, to });
    }
  }
  orderCopies(draft, endCopies);

  const order: Step[] = draft.steps;
  const { arenaBytes, liveBytes } = placeTemporaries(order, target);
  const groups: Group[] = [];
  for (const step of order) {
    const group = step instanceof LoopBuilder ? step.build() : kernelGroup(step);
    if (hasWork(group)) groups.push(group);
  }
  return { groups, values: draft.values, scalars: draft.scalars, arenaBytes, liveBytes };
}

function kernelGroup({ group, epilogue }: KernelStep): KernelGroup {
  return epilogue
    ? { ...group, name: `${group.name}+${epilogue.name()}`, epilogue: epilogue.build() }
    : group;
}

/** A group that writes nothing does nothing. */
function hasWork(group: Group): boolean {
  if (group.kind === "kernel") return group.outputs.some((v) => v.size > 0);
  return group.stores.some((s) => s.value.size > 0) || group.reductions.some((r) => r.value.size > 0);
}

/**
 * Whether a new value may be written straight into the parameter that it is for: everyone else has read the old one
 * before, and the step that writes reads it element by element.
 */
function mayOverwrite(
  draft: Draft,
  target: Target,
  readers: ReadonlyMap<Value, number[]>,
  maker: number | undefined,
  value: Value,
  old: Value | undefined,
): boolean {
  if (maker === undefined) return false;
  if (!old) return true;
  if (value.dtype !== old.dtype || value.size !== old.size) return false;
  const step = draft.steps[maker]!;
  for (const at of readers.get(old) ?? []) {
    if (at < maker) continue;
    if (at > maker) return false;
    const loop = loopOf(step);
    if (loop ? !mayStoreOver(step, loop, old, value) : !kernelInPlace(step as KernelStep, target, old, value))
      return false;
  }
  return true;
}

/** Whether a kernel may write `value`, its first output, over the memory of `old`, its operand. */
function kernelInPlace(step: KernelStep, target: Target, old: Value, value: Value): boolean {
  if (step.group.outputs[0] !== value) return false;
  const index = target.inPlace(step.group.op);
  return step.group.inputs.every((input, i) => {
    if (!("value" in input) || input.value !== old) return true;
    return i === index && isIdentity(input) && input.dtype === step.group.outputs[0]!.dtype;
  });
}

/**
 * Copies at the end of the plan: first everything is saved that a copy into a parameter would overwrite before another
 * copy reads it, then the copies follow in any order.
 */
function orderCopies(draft: Draft, copies: readonly { from: Value; to: Value }[]): void {
  const targets = new Set(copies.map((c) => (c.to.home.kind === "leaf" ? c.to.home.slot : -1)));
  const settled = copies.map(({ from, to }) => {
    if (from.home.kind !== "leaf" || !targets.has(from.home.slot)) return { from, to };
    const saved = draft.value(from.node, from.dtype, from.dims);
    copyStep(draft, from, saved);
    return { from: saved, to };
  });
  for (const { from, to } of settled) copyStep(draft, from, to);
}

function copyStep(draft: Draft, from: Value, to: Value): void {
  const loop = new LoopBuilder(draft.steps.length, -1, from.dims);
  const def: Def = {
    node: from.node,
    dtype: from.dtype,
    dims: from.dims,
    at: -1,
    loop: null,
    register: 0,
    value: from,
  };
  const view = identityView(from.dims);
  loop.store(loop.emit({ kind: "def", dtype: from.dtype, dims: from.dims, def, view }), to);
  draft.steps.push(loop);
}

interface Block extends Interval {
  first: number;
  last: number;
  bytes: number;
}

/** Lifetimes of temporaries, in-place reuse, and their places in the arena. */
function placeTemporaries(steps: readonly Step[], target: Target): { arenaBytes: number; liveBytes: number } {
  const lastRead = new Map<Value, number>();
  for (const [i, step] of steps.entries()) {
    for (const value of readBy(step)) lastRead.set(value, i);
    for (const value of writtenBy(step)) if (!lastRead.has(value)) lastRead.set(value, i);
  }
  const blocks = new Map<Value, Block>();
  const all: Block[] = [];
  for (const [i, step] of steps.entries()) {
    const free = new Set<Value>();
    for (const value of readBy(step)) {
      if (value.home.kind === "temp" && lastRead.get(value) === i) free.add(value);
    }
    for (const value of writtenBy(step)) {
      if (value.home.kind !== "temp") continue;
      const donor = [...free].find((old) => mayReuse(step, target, old, value));
      if (donor) {
        free.delete(donor);
        const block = blocks.get(donor)!;
        block.last = lastRead.get(value)!;
        blocks.set(value, block);
      } else {
        const block: Block = { bytes: bytesOf(value), first: i, last: lastRead.get(value)!, offset: 0 };
        blocks.set(value, block);
        all.push(block);
      }
    }
  }
  const plan = planArena(all, target.alignment);
  for (const [value, block] of blocks) value.home = { kind: "temp", offset: block.offset };
  return plan;
}

function mayReuse(step: Step, target: Target, old: Value, value: Value): boolean {
  if (old.size !== value.size || dtypeBytes(old.dtype) !== dtypeBytes(value.dtype)) return false;
  const loop = loopOf(step);
  if (loop) return mayStoreOver(step, loop, old, value);
  const kernel = step as KernelStep;
  return operands(kernel).some((o) => o.value === old) && kernelInPlace(kernel, target, old, value);
}
