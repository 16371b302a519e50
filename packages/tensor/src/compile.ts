import type { Backend, Executable } from "./device.js";
import { defaultBackend } from "./default-backend.js";
import { ConfigError } from "./errors.js";
import {
  allocateRoots,
  bindLeaf,
  evaluate,
  materialize,
  mayRefuse,
  runBound,
  storeRoot,
} from "./evaluate.js";
import { Node } from "./node.js";
import { dataOp, scalarOp } from "./ops/create.js";
import { Assignment, type Cell, type CellRef, cellBuffer } from "./cell.js";
import type { Parameter } from "./parameter.js";
import { planFor, traceGraph } from "./plan-cache.js";
import { Tensor } from "./tensor.js";

/** What a compiled function takes and gives: tensors, plain values, assignments, in arrays and plain objects. */
export type Tree = unknown;

interface Trace {
  backend: Backend;
  plan: Executable;
  graph: ReturnType<typeof traceGraph>;
  /** Per leaf slot: which tensor argument fills it, or -1 for a parameter or a captured tensor. */
  leafArgs: number[];
  scalarArgs: number[];
  /** Results in order; what is no tensor is returned as it was. */
  output: Tree;
  wanted: Node[];
  cells: Parameter[];
  /** New values of `cells` that are roots behind `wanted`, where they are not written in place. */
  apart: Node[];
}

/**
 * Traces f once for each signature (shapes and dtypes of its tensors, other arguments by value) and replays the plan
 * from then on: no graph is built again. Parameters that f reads are read at each call; assignments that f returns are
 * carried out.
 *
 * JavaScript inside f runs only while tracing: a number computed there is a constant of the plan. Pass what changes as a
 * tensor (`scalar(lr)` costs nothing).
 *
 * @returns an async function that gives what f returns, with tensors computed and assignments done (as null)
 */
export function compile<A extends readonly Tree[], R>(f: (...args: A) => R): (...args: A) => Promise<R> {
  const traces = new Map<string, Trace>();
  let owner: Backend | null = null;
  return async (...args) => {
    const backend = await defaultBackend();
    if (owner !== backend) traces.clear();
    owner = backend;
    const tensors: Tensor[] = [];
    const signature = describe(args, tensors);
    const pending = tensors.filter((t) => !t.node.storage && t.node.op !== scalarOp && !isCell(t));
    if (pending.length) await evaluate(...pending);
    let trace = traces.get(signature);
    if (!trace) traces.set(signature, (trace = await record(backend, f, args, tensors)));
    return (await replay(trace, tensors)) as R;
  };
}

const isCell = (t: Tensor): boolean => t.node.op.name === "cell";

function describe(tree: Tree, tensors: Tensor[]): string {
  if (Tensor.is(tree)) {
    // The same tensor given twice is another plan than two tensors.
    const first = tensors.findIndex((t) => t.node === tree.node);
    tensors.push(tree);
    const kind = tree.node.op === scalarOp ? "s" : isCell(tree) ? `p${tree.node.shape.id}` : "t";
    return `${kind}${tree.dtype}[${tree.shape}]${first >= 0 ? `=${first}` : ""}`;
  }
  if (Array.isArray(tree)) return `[${tree.map((t) => describe(t, tensors)).join()}]`;
  if (tree !== null && typeof tree === "object") {
    if (Object.getPrototypeOf(tree) !== Object.prototype) {
      const fields = Object.entries(tree).filter(([, v]) => Tensor.is(v));
      if (!fields.length) {
        throw new ConfigError({
          where: "compile",
          expected: "arguments that are tensors, plain values, arrays or plain objects",
          got: tree.constructor.name,
          hint: "capture it instead: f may read parameters and modules from outside",
        });
      }
      return `${tree.constructor.name}{${fields.map(([k, v]) => `${k}:${describe(v, tensors)}`).join()}}`;
    }
    return `{${Object.entries(tree)
      .map(([k, v]) => `${k}:${describe(v, tensors)}`)
      .join()}}`;
  }
  return typeof tree === "function" ? "function" : (JSON.stringify(tree) ?? "undefined");
}

/** Rebuilds a tree with its tensors replaced in the order in which `describe` met them. */
function substitute(tree: Tree, next: () => Tensor): Tree {
  if (Tensor.is(tree)) return next();
  if (Array.isArray(tree)) return tree.map((t) => substitute(t, next));
  if (tree !== null && typeof tree === "object") {
    const copy = Object.create(Object.getPrototypeOf(tree) as object) as Record<string, Tree>;
    for (const [k, v] of Object.entries(tree)) copy[k] = substitute(v, next);
    return copy;
  }
  return tree;
}

async function record<A extends readonly Tree[]>(
  backend: Backend,
  f: (...args: A) => unknown,
  args: A,
  tensors: readonly Tensor[],
): Promise<Trace> {
  const stands = new Map<Node, Tensor>();
  const placeholders = tensors.map((t) => {
    if (isCell(t)) return t;
    let stand = stands.get(t.node);
    if (!stand) {
      const isScalar = t.node.op === scalarOp;
      const node = new Node(
        isScalar ? scalarOp : dataOp,
        t.dtype,
        t.node.shape,
        isScalar ? t.node.arg : null,
        [],
      );
      node.storage = t.node.storage;
      stands.set(t.node, (stand = new Tensor(node)));
    }
    return stand;
  });
  let at = 0;
  const traced = args.map((a) => substitute(a, () => placeholders[at++]!)) as unknown as A;
  const output = f(...traced);
  const wanted: Node[] = [];
  const cells: { node: Node; parameter: Parameter }[] = [];
  collect(output, (leaf) => {
    if (leaf instanceof Assignment) cells.push({ node: leaf.value.node, parameter: leaf.target });
    else if (!wanted.includes(leaf.node)) wanted.push(leaf.node);
  });
  const apart = mayRefuse(traceGraph(wanted, cells, true)) ? cells.map(({ node }) => node) : [];
  const trace = () =>
    apart.length > 0 ? traceGraph([...wanted, ...apart], [], true) : traceGraph(wanted, cells, true);
  const graph = trace();
  const fresh: Cell[] = [];
  for (const node of graph.leaves) if (!node.storage) fresh.push((node.arg as CellRef).cell);
  await materialize(backend, fresh);
  const plan = planFor(backend, trace());
  const argOf = (node: Node) => placeholders.findIndex((p) => p.node === node);
  return {
    backend,
    plan,
    graph,
    leafArgs: graph.leaves.map((n) => (n.storage ? argOf(n) : -1)),
    scalarArgs: graph.scalars.map(argOf),
    output,
    wanted,
    cells: cells.map((c) => c.parameter),
    apart,
  };
}

function collect(tree: Tree, visit: (leaf: Tensor | Assignment) => void): void {
  if (tree instanceof Assignment || Tensor.is(tree)) visit(tree);
  else if (tree instanceof Map) for (const v of tree.values()) collect(v, visit);
  else if (tree !== null && typeof tree === "object") for (const v of Object.values(tree)) collect(v, visit);
}

async function replay(trace: Trace, tensors: readonly Tensor[]): Promise<Tree> {
  const { backend, plan, graph, wanted, apart } = trace;
  const leaves = graph.leaves.map((node, i) => {
    const arg = trace.leafArgs[i]!;
    if (arg >= 0) return bindLeaf(backend, tensors[arg]!.node);
    return node.storage ? bindLeaf(backend, node) : cellBuffer((node.arg as CellRef).cell, backend);
  });
  const scalars = Float64Array.from(graph.scalars, (node, i) => {
    const arg = trace.scalarArgs[i]!;
    return (arg >= 0 ? tensors[arg]!.node.arg : node.arg) as number;
  });
  const buffers = allocateRoots(backend, [...wanted, ...apart]);
  try {
    await runBound(plan, graph.roots, leaves, scalars, buffers);
  } catch (error) {
    for (const b of buffers) backend.free(b);
    throw error;
  }
  const results = new Map<Node, Tensor>();
  for (const [i, node] of wanted.entries()) {
    const fresh = new Node(dataOp, node.dtype, node.shape, null, []);
    fresh.storage = await storeRoot(backend, fresh, buffers[i]!);
    results.set(node, new Tensor(fresh));
  }
  for (const [i, parameter] of trace.cells.entries()) {
    if (apart.length > 0) parameter.take(backend, buffers[wanted.length + i]!);
    parameter.commit();
  }
  return fill(trace.output, results);
}

function fill(tree: Tree, results: ReadonlyMap<Node, Tensor>): Tree {
  if (tree instanceof Assignment) return null;
  if (Tensor.is(tree)) return results.get(tree.node)!;
  if (Array.isArray(tree)) return tree.map((t) => fill(t, results));
  if (tree instanceof Map) return new Map([...tree].map(([k, v]) => [k, fill(v, results)]));
  if (tree !== null && typeof tree === "object") {
    return Object.fromEntries(Object.entries(tree).map(([k, v]) => [k, fill(v, results)]));
  }
  return tree;
}
