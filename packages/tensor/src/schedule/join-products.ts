import type { Def } from "./expr.js";
import type { Target, Value } from "./ir.js";
import { LoopBuilder } from "./loop-builder.js";
import type { KernelStep, Step } from "./schedule.js";
import { bytesOf, makersOf, operands, readersOf } from "./steps.js";

/**
 * Makes one call of two kernel calls of which one loop reads the sum and nothing else, where the target can add the second
 * to the first as it goes: W x + B (A x) is then one product, and neither B (A x) nor W x without it is ever stored. The call
 * stands where the later of the two stood; operands that live longer for that must not take more than a result that is no
 * longer stored. A loop that has nothing else to do is gone.
 */
export function joinProducts(steps: Step[], target: Target, rootDefs: readonly Def[]): void {
  if (!target.joins) return;
  const readers = readersOf(steps);
  const makers = makersOf(steps);
  const roots = new Set(rootDefs.map((def) => def.value));
  const gone = new Set<Step>();

  for (const loop of steps.filter((step) => step instanceof LoopBuilder)) {
    const calls = new Map<Value, number>();
    for (const value of loop.loadedValues()) {
      const made = makers.get(value);
      if (made === undefined || roots.has(value) || steps[made] instanceof LoopBuilder) continue;
      if (readers.get(value)!.length === 1 && loop.readsByIndex(value)) calls.set(value, made);
    }
    for (const [a, atA] of calls) {
      for (const [b, atB] of calls) {
        const [first, second] = [steps[atA] as KernelStep, steps[atB] as KernelStep];
        if (a.node.phase !== b.node.phase || !target.joins(first.group, second.group)) continue;
        const to = Math.max(atA, atB);
        const earlier = atA < atB ? first : second;
        const longer = operands(earlier).map(({ value }) => value);
        const ended = longer.filter((v) => v.home.kind === "temp" && Math.max(...readers.get(v)!) < to);
        if (ended.reduce((sum, v) => sum + bytesOf(v), 0) > bytesOf(a) || !loop.joinSum(a, b)) continue;
        const output = loop.copied() ?? a;
        if (output !== a) gone.add(loop);
        gone.add(earlier);
        const inputs = [...first.group.inputs, ...second.group.inputs];
        steps[to] = { ...first, group: { ...first.group, inputs, outputs: [output] } };
        makers.set(output, to);
        for (const value of longer) readers.get(value)!.push(to);
        // Neither is a call of its own any more.
        calls.delete(a);
        calls.delete(b);
        break;
      }
    }
  }
  steps.splice(0, steps.length, ...steps.filter((step) => !gone.has(step)));
}
