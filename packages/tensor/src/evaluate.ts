import type { Backend, DeviceBuffer, Executable } from "./device.js";
import { defaultBackend } from "./default-backend.js";
import { dtypeBytes, type HostArray } from "./dtype.js";
import { ConfigError, StaleError } from "./errors.js";
import type { Graph, GraphRoot } from "./graph.js";
import type { Node } from "./node.js";
import { Assignment, type Cell, cellBuffer, cellOp, type CellRef } from "./cell.js";
import type { Parameter } from "./parameter.js";
import { planFor, type TracedGraph, traceGraph } from "./plan-cache.js";
import { Storage } from "./storage.js";
import type { Tensor } from "./tensor.js";

/** Values up to this size keep a host copy instead of device memory where reading back is cheap. */
const SMALL_BYTES = 65536;

/** A graph of more nodes than this is likely one that grows from step to step. */
const MANY_NODES = 50_000;
let warned = false;

function warnOfGrowth(count: number): void {
  if (warned) return;
  warned = true;
  console.warn(
    `lowrank: an evaluation has ${count} operations pending. If a loop adds to a tensor at each step, evaluate that ` +
      "tensor at each step too, or keep it in a parameter.",
  );
}

/** What an evaluation may be asked for: a tensor to compute, or a value to write into a parameter. */
export type Root = Tensor | Assignment;

let queue: Promise<unknown> = Promise.resolve();

/**
 * Computes tensors and carries out assignments, all as one plan: values that they share are computed once, and
 * assignments become visible together after everything else has been read.
 *
 * A tensor that was computed keeps its value; what was only passed through on the way keeps nothing, and is computed
 * again if it is asked for later.
 *
 * @throws StaleError if a tensor needs a parameter's value that has been overwritten since.
 */
export function evaluate(...roots: Root[]): Promise<void> {
  const run = queue.then(async () => {
    const backend = await defaultBackend();
    await evaluateOn(backend, roots);
  });
  queue = run.catch(() => {});
  return run;
}

/** @internal evaluates outside of the queue; the caller is in it already */
export async function evaluateOn(backend: Backend, roots: readonly Root[]): Promise<void> {
  const wanted: Node[] = [];
  const cells: { node: Node; parameter: Parameter }[] = [];
  const params: Cell[] = [];
  const seen = new Set<Node>();
  const targets = new Set<Parameter>();
  for (const root of roots) {
    if (root instanceof Assignment) {
      if (targets.has(root.target)) {
        throw new ConfigError({
          where: "evaluate",
          expected: "one assignment to a parameter",
          got: `two to ${root.target.cell.name || "one"}`,
          hint: "evaluate them one after the other",
        });
      }
      targets.add(root.target);
      cells.push({ node: root.value.node, parameter: root.target });
    } else if (root.node.op === cellOp) {
      params.push((root.node.arg as CellRef).cell);
    } else if (!root.node.storage && !seen.has(root.node)) {
      seen.add(root.node);
      wanted.push(root.node);
    }
  }
  if (params.length) await materialize(backend, params);
  if (!wanted.length && !cells.length) return;
  const began = performance.now();
  const graph = traceGraph(wanted, cells);
  backend.hostWork?.("trace", began);
  if (graph.nodes.length > MANY_NODES) warnOfGrowth(graph.nodes.length);
  checkVersions(graph);
  const pending = pendingCells(graph);
  if (pending.length) await materialize(backend, pending);
  await runPlan(backend, graph, wanted, cells);
}

/**
 * Whether an op may end a run because of the numbers it meets. Then parameters are not written in place: they take the
 * memory of their new values once all has gone well.
 */
export const mayRefuse = ({ nodes }: Graph): boolean => nodes.some(({ op }) => op.kernels !== undefined);

async function runPlan(
  backend: Backend,
  traced: TracedGraph,
  wanted: readonly Node[],
  cells: readonly { node: Node; parameter: Parameter }[],
): Promise<void> {
  const apart = mayRefuse(traced) ? cells : [];
  const results = [...wanted, ...apart.map(({ node }) => node)];
  const graph = apart.length > 0 ? traceGraph(results, []) : traced;
  const plan = planFor(backend, graph);
  const buffers = allocateRoots(backend, results);
  try {
    await execute(backend, plan, graph, buffers);
  } catch (error) {
    for (const buffer of buffers) backend.free(buffer);
    throw error;
  }
  const ran = performance.now();
  for (const [i, node] of wanted.entries()) {
    node.storage = await storeRoot(backend, node, buffers[i]!);
    node.cut();
  }
  for (const [i, { parameter }] of apart.entries()) parameter.take(backend, buffers[wanted.length + i]!);
  for (const { parameter } of cells) parameter.commit();
  backend.hostWork?.("keep results", ran);
  await breathe(wanted);
}

/** A buffer for each node; none if one of them is refused. */
export function allocateRoots(backend: Backend, nodes: readonly Node[]): DeviceBuffer[] {
  const buffers: DeviceBuffer[] = [];
  try {
    for (const { shape, dtype } of nodes) {
      buffers.push(backend.allocate(Math.max(1, shape.size * dtypeBytes(dtype))));
    }
    return buffers;
  } catch (error) {
    for (const buffer of buffers) backend.free(buffer);
    throw error;
  }
}

/** Runs a plan on the storages and scalars that the graph's leaves hold now. */
export function execute(
  backend: Backend,
  plan: Executable,
  graph: Graph,
  rootBuffers: readonly DeviceBuffer[],
): void | Promise<void> {
  const began = performance.now();
  const leaves = graph.leaves.map((node) => bindLeaf(backend, node));
  const scalars = Float64Array.from(graph.scalars, (node) => node.arg as number);
  backend.hostWork?.("bind", began);
  return runBound(plan, graph.roots, leaves, scalars, rootBuffers);
}

/** Runs a plan with everything bound; a root that is written into a parameter takes that parameter's buffer. */
export function runBound(
  plan: Executable,
  roots: readonly GraphRoot[],
  leaves: readonly (DeviceBuffer | HostArray)[],
  scalars: Float64Array,
  rootBuffers: readonly DeviceBuffer[],
): void | Promise<void> {
  let next = 0;
  const bound = roots.map((r) =>
    r.cellSlot >= 0 ? (leaves[r.cellSlot] as DeviceBuffer) : rootBuffers[next++]!,
  );
  return plan.run({ leaves, scalars, roots: bound });
}

/** A leaf's device buffer, or its host numbers when only one plan has read them so far. */
export function bindLeaf(backend: Backend, node: Node): DeviceBuffer | HostArray {
  if (!node.storage) return cellBuffer((node.arg as CellRef).cell, backend);
  const storage = node.storage;
  const small = storage.bytes <= 4096;
  if (storage.host && !storage.buffer && !storage.disposed && (small || storage.uses++ === 0))
    return storage.host;
  return storage.onDevice(backend);
}

/** Takes over a root's buffer; small values move to the host at once where that is cheap. */
export function storeRoot(backend: Backend, node: Node, buffer: DeviceBuffer): Storage | Promise<Storage> {
  const storage = new Storage(node.dtype, node.shape.size, null);
  if (backend.cheapReads && storage.bytes <= SMALL_BYTES) return storage.move(backend, buffer);
  storage.own(backend, buffer);
  return storage;
}

/** Parameters among the leaves whose first value has not been computed. */
function pendingCells(graph: Graph): Cell[] {
  const cells: Cell[] = [];
  for (const node of graph.leaves) {
    if (!node.storage) {
      const { cell } = node.arg as CellRef;
      if (!cell.storage) cells.push(cell);
    }
  }
  return cells;
}

/** Gives parameters their first value, all in one plan. */
export async function materialize(backend: Backend, cells: readonly Cell[]): Promise<void> {
  const fresh: { cell: Cell; initial: Tensor }[] = [];
  for (const cell of new Set(cells)) {
    if (cell.storage) continue;
    const initial = cell.initial!;
    if (initial.node.storage?.host && !initial.node.storage.buffer) {
      // Numbers from the host: a storage of the cell's own, uploaded without a plan.
      cell.storage = new Storage(initial.dtype, initial.size, initial.node.storage.host);
      cell.storage.onDevice(backend);
      cell.storage.host = null;
      cell.initial = null;
    } else fresh.push({ cell, initial });
  }
  if (!fresh.length) return;
  // A cell needs memory that nobody else holds, so a tensor that is stored already is copied.
  const nodes = fresh.map(({ initial }) => initial.node);
  const graph = traceGraph(nodes, [], true);
  checkVersions(graph);
  const pending = pendingCells(graph);
  if (pending.length) await materialize(backend, pending);
  const plan = planFor(backend, graph);
  const buffers = allocateRoots(backend, nodes);
  try {
    await execute(backend, plan, graph, buffers);
  } catch (error) {
    for (const buffer of buffers) backend.free(buffer);
    throw error;
  }
  for (const [i, { cell, initial }] of fresh.entries()) {
    cell.storage = new Storage(initial.dtype, initial.size, null);
    cell.storage.own(backend, buffers[i]!);
    cell.initial = null;
  }
}

function checkVersions(graph: Graph): void {
  for (const node of graph.leaves) {
    if (node.storage) continue;
    const { cell, version } = node.arg as CellRef;
    if (cell.version !== version) {
      throw new StaleError({
        where: "evaluate",
        expected: `version ${version} of parameter ${cell.name || "(unnamed)"}`,
        got: `version ${cell.version}, written since`,
        hint: "evaluate the tensor together with the assignment, or before it",
      });
    }
  }
}

let ownedSinceYield = 0;
let lastYield = 0;

/** Lets finalizers run now and then: they are tasks, and a chain of promises alone never reaches them. */
function breathe(nodes: readonly Node[]): void | Promise<void> {
  for (const node of nodes) if (node.storage?.buffer) ownedSinceYield += node.storage.bytes;
  const now = performance.now();
  if (ownedSinceYield < 2 ** 26 && now - lastYield < 50) return;
  ownedSinceYield = 0;
  return new Promise<void>((resolve) => {
    if (typeof setImmediate === "function") return void setImmediate(resolve);
    const { port1, port2 } = new MessageChannel(); // not a timer, which a hidden page may hold back for seconds
    port1.onmessage = () => resolve(port1.close());
    port2.postMessage(0);
  }).then(() => {
    lastYield = performance.now();
  });
}
