import { dtypeBytes } from "../dtype.js";
import type { Operand, Value } from "./ir.js";
import { LoopBuilder } from "./loop-builder.js";
import type { KernelStep, Step } from "./schedule.js";

// What the steps of a schedule read and write, while they may still move.

export const bytesOf = (value: Value): number => value.size * dtypeBytes(value.dtype);

export const operands = (step: KernelStep): Operand[] =>
  step.group.inputs.filter((input): input is Operand => "value" in input);

/** The loop that writes what a step writes: the step itself, or the epilogue of a kernel. */
export const loopOf = (step: Step): LoopBuilder | undefined =>
  step instanceof LoopBuilder ? step : step.epilogue;

export function* readBy(step: Step): Generator<Value> {
  if (step instanceof LoopBuilder) yield* step.loadedValues();
  else {
    for (const { value } of operands(step)) yield value;
    if (!step.epilogue) return;
    for (const value of step.epilogue.loadedValues()) if (value !== step.group.outputs[0]) yield value;
  }
}

export function* writtenBy(step: Step): Generator<Value> {
  const loop = loopOf(step);
  if (loop) yield* loop.writtenValues();
  else yield* (step as KernelStep).group.outputs;
}

/** Whether the loop that a step is, or ends with, may store `to` over `from`: each element is read just before. */
export function mayStoreOver(step: Step, loop: LoopBuilder, from: Value, to: Value): boolean {
  if (step !== loop && operands(step as KernelStep).some((o) => o.value === from)) return false;
  return [...loop.storedValues()].includes(to) && loop.readsOnlyInPlace(from);
}

/** Places of the steps that read a value, in order. */
export function readersOf(steps: readonly Step[]): Map<Value, number[]> {
  const readers = new Map<Value, number[]>();
  for (const [at, step] of steps.entries()) {
    for (const value of readBy(step)) {
      const list = readers.get(value);
      if (!list) readers.set(value, [at]);
      else if (list.at(-1) !== at) list.push(at);
    }
  }
  return readers;
}

/** Place of the step that writes a value. */
export function makersOf(steps: readonly Step[]): Map<Value, number> {
  const makers = new Map<Value, number>();
  for (const [at, step] of steps.entries()) for (const value of writtenBy(step)) makers.set(value, at);
  return makers;
}
