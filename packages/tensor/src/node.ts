import type { DType, HostArray } from "./dtype.js";
import type { OpDef } from "./op.js";
import type { Shape } from "./shape.js";
import type { Storage } from "./storage.js";

let nextId = 1;
let phase = 0;
let phases = 0;

/**
 * Runs `f` with new nodes marked as a phase of their own. Fusion and sharing of subexpressions stay inside a phase, so
 * that the backward pass computes again what it was told not to save.
 */
export function inNewPhase<T>(f: () => T): T {
  const before = phase;
  phase = ++phases;
  try {
    return f();
  } finally {
    phase = before;
  }
}

/** The id that the next node will get; nodes made later have larger ids. */
export const peekNodeId = (): number => nextId;

const NO_SOURCES: readonly Node[] = [];

/**
 * One operation in the lazy graph. All nodes have the same fields, so that engines keep one hidden class; a handle
 * (`Tensor`) points to a node, and a node points to its sources until its value is stored.
 */
export class Node {
  /** Order of creation: a topological order of every graph. */
  readonly id: number = nextId++;
  readonly phase: number = phase;
  /** Epoch of the last walk that saw this node, and its number in that walk. */
  mark = 0;
  index = 0;
  /** The value, once it has one. */
  storage: Storage | null = null;
  /** Interned id of `arg` within `op`; -1 until a walk needs it. */
  argId = -1;

  constructor(
    readonly op: OpDef,
    readonly dtype: DType,
    readonly shape: Shape,
    /** Static argument (in the plan's key), the number of a scalar leaf, or the cell reference of a parameter leaf. */
    readonly arg: unknown,
    public sources: readonly Node[],
    /** Shapes and dtypes of all results when there is more than one; `pick` nodes select one. */
    readonly outputs: readonly { dtype: DType; shape: Shape }[] | null = null,
  ) {}

  /** Lets go of the sources once the value is stored. */
  cut(): void {
    this.sources = NO_SOURCES;
  }
}

export type { HostArray };
