import { gradients, pullback } from "./autograd.js";
import { ShapeError } from "./errors.js";
import { Node } from "./node.js";
import { defineOp } from "./op.js";
import { aliasOp } from "./ops/movement.js";
import { zeros } from "./ops/create.js";
import { apply, applyMulti, Tensor } from "./tensor.js";

/** A handle of its own to a value: differentiating with respect to it leaves other uses of the value alone. */
const alias = (t: Tensor): Tensor => apply(aliasOp, [t], null);

export interface GradOptions {
  /** Which arguments to differentiate with respect to. Default: [0]. */
  argnums?: readonly number[];
}

/**
 * Turns f into a function that gives its value and its gradients with respect to the arguments in `argnums`.
 *
 * @example
 * ```ts
 * const f = valueAndGrad((w: Tensor) => w.square().sum());
 * const { value, grads } = f(tensor([1, 2, 3])); // 14, [[2, 4, 6]]
 * ```
 */
export function valueAndGrad<A extends readonly Tensor[]>(
  f: (...args: A) => Tensor,
  { argnums = [0] }: GradOptions = {},
): (...args: A) => { value: Tensor; grads: Tensor[] } {
  return (...args) => {
    const inner = args.map((a, i) => (argnums.includes(i) ? alias(a) : a)) as unknown as A;
    const value = f(...inner);
    return {
      value,
      grads: gradients(
        value,
        argnums.map((i) => inner[i]!),
      ),
    };
  };
}

/** The gradient of a scalar function with respect to its first argument, as a function; apply it again for higher derivatives. */
export function grad<A extends readonly Tensor[]>(f: (...args: A) => Tensor): (...args: A) => Tensor {
  const g = valueAndGrad(f);
  return (...args) => g(...args).grads[0]!;
}

/**
 * The vector–Jacobian product: values of f at `primals`, and a function from gradients arriving at them to gradients at
 * `primals`.
 */
export function vjp(
  f: (...args: Tensor[]) => Tensor | Tensor[],
  ...primals: Tensor[]
): { outputs: Tensor[]; pullback: (...dys: Tensor[]) => Tensor[] } {
  const inner = primals.map(alias);
  const out = f(...inner);
  const outputs = Array.isArray(out) ? out : [out];
  return {
    outputs,
    pullback: (...dys) => {
      if (dys.length !== outputs.length) {
        throw new ShapeError({
          where: "vjp",
          expected: `${outputs.length} gradients, one for each output`,
          got: String(dys.length),
        });
      }
      const grads = pullback(
        outputs,
        dys,
        inner.map((t) => t.node),
      );
      return grads.map((g, i) => g ?? zeros(primals[i]!.shape, { dtype: primals[i]!.dtype }));
    },
  };
}

interface PassArg {
  /** Sources before the results: inputs, and for `checkpoint` also what the function captured. */
  readonly lead: number;
  readonly inputs: number;
  readonly bwd: CustomBackward | null;
}

/** Gradients for the inputs of a `customVjp` function; null where there is none. */
export type CustomBackward = (context: {
  inputs: readonly Tensor[];
  outputs: readonly Tensor[];
  dys: readonly (Tensor | null)[];
}) => readonly (Tensor | null)[];

const passInfer = (
  inputs: readonly { dtype: Tensor["dtype"]; dims: readonly number[] }[],
  { lead }: PassArg,
) => inputs.slice(lead);

/** Hands results through and gives the reverse pass a rule of the caller's own. */
const customVjpOp = /* @__PURE__ */ defineOp<PassArg>("customVjp", {
  kind: "movement",
  infer: passInfer,
  key: ({ lead }) => String(lead),
  vjp: (_, { inputs, outputs, arg, dys }) => {
    const grads = arg.bwd!({ inputs: inputs.slice(0, arg.lead), outputs, dys });
    return inputs.map((_, i) => (i < arg.lead ? (grads[i] ?? null) : null));
  },
});

/**
 * Gives f a gradient of its own: `bwd` gets inputs, outputs and the gradients arriving, all as tensors, and answers with
 * a gradient for each input. What f captures from outside gets none. `bwd` is traced, so second derivatives follow it.
 */
export function customVjp(
  f: (...inputs: Tensor[]) => Tensor | Tensor[],
  bwd: CustomBackward,
): (...inputs: Tensor[]) => Tensor[] {
  return (...inputs) => {
    const out = f(...inputs);
    const outputs = Array.isArray(out) ? out : [out];
    return applyMulti(customVjpOp, [...inputs, ...outputs], {
      lead: inputs.length,
      inputs: inputs.length,
      bwd,
    });
  };
}

/** Hands results through; the reverse pass computes the function again from its inputs instead of keeping what it made. */
const checkpointOp = /* @__PURE__ */ defineOp<PassArg>("checkpoint", {
  kind: "movement",
  infer: passInfer,
  key: ({ lead }) => String(lead),
  vjp: (_, { inputs, arg, dys, needs }) => {
    const boundary = inputs.slice(0, arg.lead).map((t) => t.node);
    const results = inputs.slice(arg.lead).map((t) => t.node);
    const copies = cloneRegion(results, new Set(boundary));
    const wrt = boundary.filter((_, i) => needs[i]);
    const unique = [...new Set(wrt)];
    const grads = pullback(
      copies.map((n) => new Tensor(n)),
      dys,
      unique,
      true,
    );
    const byNode = new Map(unique.map((n, i) => [n, grads[i]!]));
    const answered = new Set<Node>();
    return inputs.map((_, i) => {
      const node = boundary[i];
      if (!node || !needs[i] || answered.has(node)) return null;
      answered.add(node);
      return byNode.get(node) ?? null;
    });
  },
});

/**
 * Makes f forget its intermediates: the reverse pass computes them again. Saves memory for one more forward pass of f
 * (Chen et al. 2016, arXiv:1604.06174). Parameters that f captures get their gradients as usual, and random numbers
 * repeat by themselves because their keys are part of the graph.
 */
export function checkpoint<A extends readonly Tensor[]>(
  f: (...inputs: A) => Tensor,
): (...inputs: A) => Tensor {
  return (...inputs) => {
    const before = new Set(inputs.map((t) => t.node));
    const mark = new Node(aliasOp, "f32", inputs[0]!.node.shape, null, []).id;
    const output = f(...inputs);
    const captured = regionBoundary(output.node, before, mark).map((n) => new Tensor(n));
    const lead = inputs.length + captured.length;
    return applyMulti(checkpointOp, [...inputs, ...captured, output], {
      lead,
      inputs: inputs.length,
      bwd: null,
    })[0]!;
  };
}

/** Nodes from outside on which a region depends: made before `mark`, stored, or leaves. */
function regionBoundary(result: Node, inputs: ReadonlySet<Node>, mark: number): Node[] {
  const boundary: Node[] = [];
  const seen = new Set<Node>([result]);
  const stack = [result];
  while (stack.length) {
    const node = stack.pop()!;
    if (inputs.has(node)) continue;
    if (node.id < mark || node.storage || node.sources.length === 0) {
      if (node.op.name !== "scalar" && node.op.name !== "iota") boundary.push(node);
      continue;
    }
    for (const s of node.sources) {
      if (!seen.has(s)) {
        seen.add(s);
        stack.push(s);
      }
    }
  }
  return boundary.sort((a, b) => a.id - b.id);
}

/** Copies the nodes between a boundary and results; leaves inside stay shared. */
function cloneRegion(results: readonly Node[], boundary: ReadonlySet<Node>): Node[] {
  const region = new Set<Node>();
  const stack = [...results];
  while (stack.length) {
    const node = stack.pop()!;
    if (region.has(node) || boundary.has(node) || node.storage || node.sources.length === 0) continue;
    region.add(node);
    for (const s of node.sources) stack.push(s);
  }
  const copy = new Map<Node, Node>();
  for (const node of [...region].sort((a, b) => a.id - b.id)) {
    const sources = node.sources.map((s) => copy.get(s) ?? s);
    copy.set(node, new Node(node.op, node.dtype, node.shape, node.arg, sources, node.outputs));
  }
  return results.map((r) => copy.get(r) ?? r);
}
