import type { Graph } from "../graph.js";
import type { Def } from "./expr.js";
import type { Target, Value } from "./ir.js";
import { LoopBuilder } from "./loop-builder.js";
import type { KernelStep, Step } from "./schedule.js";
import { bytesOf, makersOf, operands, readersOf } from "./steps.js";

/**
 * Gives a kernel the one map that reads its output, each element at its own index, to be run while a part of the output
 * is in the cache; the output itself then has no memory. The map moves up to its kernel, so all else that it reads must
 * have been made before; it must not store more than the output took; and a parameter that it writes must not be read
 * any more.
 */
export function fuseEpilogues(steps: Step[], target: Target, graph: Graph, rootDefs: readonly Def[]): void {
  if (!target.fusesEpilogue) return;
  const readers = readersOf(steps);
  const makers = makersOf(steps);
  const roots = new Set(rootDefs.map((def) => def.value));
  const parameters = parametersOf(steps, graph, rootDefs);
  const moved = new Set<Step>();
  for (const [at, step] of steps.entries()) {
    if (step instanceof LoopBuilder || step.group.outputs.length !== 1) continue;
    const product = step.group.outputs[0]!;
    const reading = readers.get(product);
    if (reading?.length !== 1 || roots.has(product)) continue;
    const [from] = reading as [number];
    const loop = steps[from]!;
    if (!(loop instanceof LoopBuilder) || moved.has(loop) || !mayFollow(loop, product)) continue;
    const others = [...loop.loadedValues()].filter((value) => value !== product);
    if (others.some((value) => (makers.get(value) ?? -1) >= at)) continue;
    const stored = [...loop.storedValues()];
    const kept = stored.filter((value) => !parameters.has(value));
    if (from !== at + 1 && kept.reduce((sum, v) => sum + bytesOf(v), 0) > bytesOf(product)) continue;
    if (stored.some((value) => isReadLater(parameters.get(value), step, at, from, readers))) continue;
    if (!target.fusesEpilogue(step.group, loop.build())) continue;
    product.home = { kind: "none" };
    steps[at] = { ...step, epilogue: loop };
    moved.add(loop);
    for (const value of stored) makers.set(value, at);
    for (const value of others) {
      const places = readers.get(value)!.filter((place) => place !== from);
      readers.set(value, places.includes(at) ? places : [...places, at].sort((a, b) => a - b));
    }
  }
  if (moved.size === 0) return;
  const left = steps.filter((step) => !moved.has(step));
  steps.splice(0, steps.length, ...left);
}

const mayFollow = (loop: LoopBuilder, product: Value): boolean =>
  loop.movable &&
  !loop.hasReductions &&
  loop.size > 0 &&
  loop.size === product.size &&
  loop.readsByIndex(product);

/** The old value of the parameter that each new value is for. */
function parametersOf(
  steps: readonly Step[],
  graph: Graph,
  rootDefs: readonly Def[],
): Map<Value, Value | null> {
  const old = new Map<number, Value>();
  for (const value of readersOf(steps).keys())
    if (value.home.kind === "leaf") old.set(value.home.slot, value);
  const parameters = new Map<Value, Value | null>();
  for (const [i, { cellSlot }] of graph.roots.entries()) {
    const value = rootDefs[i]!.value;
    if (cellSlot >= 0 && value) parameters.set(value, old.get(cellSlot) ?? null);
  }
  return parameters;
}

/** Whether somebody still reads the old value of a parameter when the kernel `step` at `at` writes the new one. */
function isReadLater(
  old: Value | null | undefined,
  step: KernelStep,
  at: number,
  from: number,
  readers: ReadonlyMap<Value, number[]>,
): boolean {
  if (!old) return false;
  if (operands(step).some((operand) => operand.value === old)) return true;
  return (readers.get(old) ?? []).some((place) => place > at && place !== from);
}
