import type { Backend, Bindings, DeviceBuffer, Executable } from "./device.js";
import { type DType, dtypeBytes, type HostArray, hostView } from "./dtype.js";
import type { Graph, GraphRoot } from "./graph.js";
import type { Node } from "./node.js";

/**
 * Lets `backend` do ops that it has no kernel for, on `companion`: decompositions on a GPU, for example. A plan then runs
 * in stages: the backend computes what such an op reads, the numbers go through the host to the companion, and its results
 * come back. That is seen: a backend that profiles lists each op so run, with the companion's name.
 *
 * An op goes to the companion if its row brings `kernels`, but none for `backend`. The companion stays the caller's to
 * dispose of, after `backend`.
 *
 * @returns `backend` itself
 * @example
 * ```ts
 * setDefaultBackend(withCompanion(await webgpu(), await wasm()));
 * ```
 */
export function withCompanion<B extends Backend>(backend: B, companion: Backend): B {
  const prepare = backend.prepare.bind(backend);
  backend.prepare = (graph) => {
    const layers = layersOf(graph, backend.name);
    return layers.length > 0 ? new StagedPlan(backend, companion, prepare, graph, layers) : prepare(graph);
  };
  return backend;
}

/** A value of a run: a slot below the number of leaves is bound, the others are made on the way. */
type Slot = number;
type Value = DeviceBuffer | HostArray;

interface Stored {
  readonly slot: Slot;
  readonly dtype: DType;
  readonly size: number;
}

/** A part of the graph, and where its leaves and scalars come from. */
interface Part {
  readonly plan: Executable;
  readonly leaves: readonly Stored[];
  /** Slots of the whole graph's scalars. */
  readonly scalars: readonly number[];
}

/** A part whose results are kept for the rest of the run. */
interface Inner extends Part {
  readonly results: readonly Stored[];
}

interface Foreign extends Inner {
  readonly name: string;
}

/** Foreign ops that need nothing of each other, behind the part that computes what they read. */
interface Stage {
  readonly before: Inner | null;
  readonly ops: readonly Foreign[];
}

class StagedPlan implements Executable {
  readonly peakBytes: number;
  private readonly stages: Stage[] = [];
  private readonly last: Part;

  constructor(
    private readonly backend: Backend,
    private readonly companion: Backend,
    prepare: (graph: Graph) => Executable,
    graph: Graph,
    layers: readonly (readonly Node[])[],
  ) {
    const slots = new Map<Node, Slot>(graph.leaves.map((node, slot) => [node, slot]));
    const keep = (nodes: readonly Node[]): Stored[] => {
      for (const node of nodes) slots.set(node, slots.size);
      return nodes.map((node) => storedAt(node, slots));
    };
    const resultsOf = (op: Node): Node[] =>
      op.outputs
        ? graph.nodes.filter(({ op: { name }, sources }) => name === "pick" && sources[0] === op)
        : [op];
    for (const layer of layers) {
      const reads = [...new Set(layer.flatMap((op) => op.sources))].filter((node) => !slots.has(node));
      const before = reads.length > 0 ? partOf(graph, reads.map(asRoot), slots, prepare) : null;
      const made = keep(reads);
      const ops = layer.map((op) => {
        const results = resultsOf(op);
        const part = partOf(graph, results.map(asRoot), slots, (g) => companion.prepare(g));
        return { ...part, results: keep(results), name: op.op.name };
      });
      this.stages.push({ before: before && { ...before, results: made }, ops });
    }
    this.last = partOf(graph, graph.roots, slots, prepare);
    const parts = [this.last, ...this.stages.flatMap(({ before }) => before ?? [])];
    this.peakBytes = Math.max(...parts.map(({ plan }) => plan.peakBytes));
  }

  async run(bindings: Bindings): Promise<void> {
    const values: Value[] = [...bindings.leaves];
    const own: DeviceBuffer[] = [];
    const keep = ({ slot, dtype, size }: Stored): DeviceBuffer => {
      const buffer = this.backend.allocate(Math.max(1, size * dtypeBytes(dtype)));
      own.push(buffer);
      values[slot] = buffer;
      return buffer;
    };
    try {
      for (const { before, ops } of this.stages) {
        if (before) await runPart(before, values, bindings, before.results.map(keep));
        for (const op of ops) await this.runForeign(op, values, bindings, keep);
      }
      await runPart(this.last, values, bindings, bindings.roots);
    } finally {
      for (const buffer of own) this.backend.free(buffer);
    }
  }

  explain(): string {
    const stages = this.stages.flatMap(({ before, ops }) => [
      ...(before ? [before.plan.explain()] : []),
      ...ops.map(({ name, plan }) => `${name} on ${this.companion.name}:\n${plan.explain()}`),
    ]);
    return [...stages, this.last.plan.explain()].join("\n");
  }

  dispose(): void {
    for (const { before, ops } of this.stages) for (const part of [before, ...ops]) part?.plan.dispose();
    this.last.plan.dispose();
  }

  private async runForeign(
    op: Foreign,
    values: readonly Value[],
    bindings: Bindings,
    keep: (result: Stored) => DeviceBuffer,
  ): Promise<void> {
    const { backend, companion } = this;
    const began = performance.now();
    const inputs: Value[] = [];
    for (const leaf of op.leaves) {
      const value = values[leaf.slot]!;
      inputs[leaf.slot] = ArrayBuffer.isView(value)
        ? (value as HostArray)
        : await readHost(backend, value as DeviceBuffer, leaf);
    }
    const results: DeviceBuffer[] = [];
    try {
      for (const { dtype, size } of op.results) {
        results.push(companion.allocate(Math.max(1, size * dtypeBytes(dtype))));
      }
      await runPart(op, inputs, bindings, results);
      for (const [i, result] of op.results.entries()) {
        backend.write(keep(result), await readHost(companion, results[i]!, result));
      }
    } finally {
      for (const buffer of results) companion.free(buffer);
    }
    backend.hostWork?.(`${op.name} on ${companion.name}`, began);
  }
}

/** Ops that a backend of this name leaves to others, by how many of them lie between each and the leaves. */
function layersOf({ nodes, leaves }: Graph, name: string): Node[][] {
  const layers: Node[][] = [];
  const depths = new Map<Node, number>(leaves.map((node) => [node, 0]));
  for (const node of nodes) {
    if (depths.has(node)) continue;
    let depth = 0;
    for (const source of node.sources) depth = Math.max(depth, depths.get(source)!);
    const { kernels } = node.op;
    const isForeign = kernels !== undefined && !Object.hasOwn(kernels, name);
    if (isForeign) (layers[depth] ??= []).push(node);
    depths.set(node, isForeign ? depth + 1 : depth);
  }
  return layers;
}

/** Prepares what leads from the values that have a slot to the roots. */
function partOf(
  graph: Graph,
  roots: readonly GraphRoot[],
  slots: ReadonlyMap<Node, Slot>,
  prepare: (part: Graph) => Executable,
): Part {
  const found = new Set<Node>();
  const stack = roots.map(({ node }) => node);
  for (const { cellSlot } of roots) if (cellSlot >= 0) stack.push(graph.leaves[cellSlot]!);
  for (let node = stack.pop(); node; node = stack.pop()) {
    if (found.has(node)) continue;
    found.add(node);
    if (!slots.has(node)) stack.push(...node.sources);
  }
  const nodes = [...found].sort((a, b) => a.id - b.id);
  for (const [index, node] of nodes.entries()) node.index = index;
  const leaves = nodes.filter((node) => slots.has(node));
  const scalars = nodes.filter((node) => !slots.has(node) && graph.scalars.includes(node));
  const numbered = roots.map(({ node, cellSlot }) => ({
    node,
    cellSlot: cellSlot < 0 ? -1 : leaves.indexOf(graph.leaves[cellSlot]!),
  }));
  return {
    plan: prepare({ nodes, leaves, scalars, roots: numbered }),
    leaves: leaves.map((node) => storedAt(node, slots)),
    scalars: scalars.map((node) => graph.scalars.indexOf(node)),
  };
}

async function runPart(
  { plan, leaves, scalars }: Part,
  values: readonly Value[],
  bindings: Bindings,
  roots: readonly DeviceBuffer[],
): Promise<void> {
  await plan.run({
    leaves: leaves.map(({ slot }) => values[slot]!),
    scalars: Float64Array.from(scalars, (slot) => bindings.scalars[slot]!),
    roots,
  });
}

async function readHost(backend: Backend, buffer: DeviceBuffer, { dtype, size }: Stored): Promise<HostArray> {
  return hostView(dtype, await backend.read(buffer, size * dtypeBytes(dtype)), 0, size);
}

const storedAt = (node: Node, slots: ReadonlyMap<Node, Slot>): Stored => ({
  slot: slots.get(node)!,
  dtype: node.dtype,
  size: node.shape.size,
});

const asRoot = (node: Node): GraphRoot => ({ node, cellSlot: -1 });
