import type { DType } from "../dtype.js";
import type { Node } from "../node.js";
import type { OpDef } from "../op.js";
import type { Dims } from "../shape.js";
import type { LoopBuilder } from "./loop-builder.js";
import type { Value } from "./ir.js";
import { moveView, type View } from "./view.js";

/** Where a computed value comes from: a loop's register, a kernel, or a leaf; stored once somebody needs it in memory. */
export interface Def {
  readonly node: Node;
  readonly dtype: DType;
  readonly dims: Dims;
  /** Place in the order of groups; -1 for leaves. */
  readonly at: number;
  /** The loop and register that hold it over the loop's whole space, or null (leaf, kernel, reduction). */
  readonly loop: LoopBuilder | null;
  readonly register: number;
  value: Value | null;
}

/**
 * What a node stands for when it is read: a scalar, an index, a view of a computed value, or a small formula that every
 * reader computes for itself.
 */
export type Expr =
  | { readonly kind: "scalar"; readonly dtype: DType; readonly dims: Dims; readonly slot: number }
  | { readonly kind: "iota"; readonly dtype: DType; readonly dims: Dims; readonly view: View }
  | {
      readonly kind: "def";
      readonly dtype: DType;
      readonly dims: Dims;
      readonly def: Def;
      readonly view: View;
    }
  | {
      readonly kind: "formula";
      readonly dtype: DType;
      readonly dims: Dims;
      readonly op: OpDef;
      readonly arg: unknown;
      readonly sources: readonly Expr[];
      /** Operations in the whole tree. */
      readonly cost: number;
    };

/** An expression seen through a movement node, or null if it cannot be said by index arithmetic. */
export function moveExpr(expr: Expr, node: Node): Expr | null {
  const dims = node.shape.dims;
  switch (expr.kind) {
    case "scalar":
      return { ...expr, dims };
    case "iota":
    case "def": {
      const view = moveView(expr.view, node);
      return view && { ...expr, dims, view };
    }
    case "formula": {
      const sources: Expr[] = [];
      for (const source of expr.sources) {
        const moved = moveExpr(source, node);
        if (!moved) return null;
        sources.push(moved);
      }
      return { ...expr, dims, sources };
    }
  }
}

/** The computed values that an expression reads. */
export function* defsOf(expr: Expr): Generator<{ def: Def; view: View }> {
  if (expr.kind === "def") yield expr;
  else if (expr.kind === "formula") for (const source of expr.sources) yield* defsOf(source);
}
