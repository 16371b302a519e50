import type { Node } from "./node.js";

/** A root of an evaluation: a value to keep, or a value to write into a parameter. */
export interface GraphRoot {
  readonly node: Node;
  /** Leaf slot of the parameter that this value overwrites, or -1. */
  readonly cellSlot: number;
}

/**
 * What a backend gets to prepare: nodes in a topological order (the order in which they were made), each with
 * `node.index` = its place in `nodes` while `prepare` runs. Leaves and scalars are slots filled at each run.
 */
export interface Graph {
  readonly nodes: readonly Node[];
  /** Nodes whose value is bound at each run: stored tensors and parameters, by slot. */
  readonly leaves: readonly Node[];
  /** Scalar leaves by slot. */
  readonly scalars: readonly Node[];
  readonly roots: readonly GraphRoot[];
}
