import type { Backend, Executable } from "./device.js";
import { cellOp } from "./cell.js";
import { dtypeId } from "./dtype.js";
import type { Graph, GraphRoot } from "./graph.js";
import type { Node } from "./node.js";
import { internArg, opId } from "./op.js";
import type { Parameter } from "./parameter.js";

/** Plans kept per backend; the least recently used goes first. */
const MAX_PLANS = 96;

export interface TracedGraph extends Graph {
  /** Structure of the graph in integers: equal keys mean equal plans. */
  readonly key: Int32Array;
  readonly hash: number;
}

let epoch = 0;
let words = new Int32Array(4096);
let used = 0;

function push(word: number): void {
  if (used === words.length) {
    const grown = new Int32Array(words.length * 2);
    grown.set(words);
    words = grown;
  }
  words[used++] = word;
}

/**
 * Walks from the roots to stored values, numbers the nodes, and writes the structure into an exact key. Leaves and
 * scalars become slots: their values are not in the key.
 *
 * @param rootsAreLeavesToo a root that is stored already is read as a leaf and copied
 */
export function traceGraph(
  wanted: readonly Node[],
  cells: readonly { node: Node; parameter: Parameter }[],
  rootsAreLeavesToo = false,
): TracedGraph {
  epoch++;
  used = 0;
  const phases = new Map<number, number>();
  const nodes: Node[] = [];
  const leaves: Node[] = [];
  const slots = new Map<Node, number>();
  const scalars: Node[] = [];
  const stack: Node[] = [];

  const finish = (node: Node): void => {
    node.index = nodes.length;
    nodes.push(node);
    push(opId(node.op));
    push(dtypeId(node.dtype));
    push(node.shape.id);
    if (node.storage || node.op === cellOp) {
      slots.set(node, leaves.length);
      leaves.push(node);
      push(-1);
    } else if (node.op.name === "scalar") {
      scalars.push(node);
      push(-2);
    } else {
      if (node.argId < 0) node.argId = internArg(node.op, node.arg);
      push(node.argId);
      let phase = phases.get(node.phase);
      if (phase === undefined) phases.set(node.phase, (phase = phases.size));
      push(phase);
      for (const s of node.sources) push(s.index);
    }
  };

  // mark = 2·epoch: entered; 2·epoch + 1: finished.
  const visit = (root: Node): void => {
    stack.push(root);
    while (stack.length) {
      const node = stack.at(-1)!;
      if (node.mark === 2 * epoch + 1) {
        stack.pop();
      } else if (node.mark === 2 * epoch || node.storage || node.sources.length === 0) {
        stack.pop();
        node.mark = 2 * epoch + 1;
        finish(node);
      } else {
        node.mark = 2 * epoch;
        const s = node.sources;
        for (let i = s.length - 1; i >= 0; i--) if (s[i]!.mark < 2 * epoch) stack.push(s[i]!);
      }
    }
  };

  for (const node of wanted) visit(node);
  for (const { node } of cells) visit(node);
  for (const { parameter } of cells) visit(parameter.node);
  const roots: GraphRoot[] = [];
  for (const node of wanted) {
    roots.push({ node, cellSlot: -1 });
    push(-3);
    push(node.index);
  }
  for (const { node, parameter } of cells) {
    const cellSlot = slots.get(parameter.node) ?? -1;
    roots.push({ node, cellSlot });
    push(-4);
    push(node.index);
    push(cellSlot);
  }
  if (rootsAreLeavesToo) push(-5);
  const key = words.slice(0, used);
  let hash = 0;
  for (let i = 0; i < key.length; i++) hash = (Math.imul(hash ^ key[i]!, 0x9e3779b1) ^ (hash >>> 15)) | 0;
  return { nodes, leaves, scalars, roots, key, hash };
}

interface Entry {
  key: Int32Array;
  plan: Executable;
  lastUse: number;
}

interface Cache {
  buckets: Map<number, Entry[]>;
  count: number;
  clock: number;
  hits: number;
  misses: number;
}

const caches = new WeakMap<Backend, Cache>();

const cacheOf = (backend: Backend): Cache => {
  let cache = caches.get(backend);
  if (!cache) caches.set(backend, (cache = { buckets: new Map(), count: 0, clock: 0, hits: 0, misses: 0 }));
  return cache;
};

/** The plan of a graph on a backend: found by its structure, or prepared. */
export function planFor(backend: Backend, graph: TracedGraph): Executable {
  const began = performance.now();
  const cache = cacheOf(backend);
  const bucket = cache.buckets.get(graph.hash);
  const found = bucket?.find((entry) => sameKey(entry.key, graph.key));
  backend.hostWork?.("find plan", began);
  if (found) {
    cache.hits++;
    found.lastUse = ++cache.clock;
    return found.plan;
  }
  cache.misses++;
  const plan = backend.prepare(graph);
  const entry = { key: graph.key, plan, lastUse: ++cache.clock };
  if (bucket) bucket.push(entry);
  else cache.buckets.set(graph.hash, [entry]);
  if (++cache.count > MAX_PLANS) evict(cache);
  return plan;
}

/** How often plans were found and made on a backend: a loop that keeps missing builds new shapes each time. */
export function planStats(backend: Backend): { hits: number; misses: number; plans: number } {
  const { hits, misses, count } = cacheOf(backend);
  return { hits, misses, plans: count };
}

function evict(cache: Cache): void {
  let oldest: { hash: number; at: number; entry: Entry } | null = null;
  for (const [hash, bucket] of cache.buckets) {
    for (const [at, entry] of bucket.entries()) {
      if (!oldest || entry.lastUse < oldest.entry.lastUse) oldest = { hash, at, entry };
    }
  }
  if (!oldest) return;
  const bucket = cache.buckets.get(oldest.hash)!;
  bucket.splice(oldest.at, 1);
  if (!bucket.length) cache.buckets.delete(oldest.hash);
  cache.count--;
  oldest.entry.plan.dispose();
}

function sameKey(a: Int32Array, b: Int32Array): boolean {
  if (a.length !== b.length) return false;
  for (let i = 0; i < a.length; i++) if (a[i] !== b[i]) return false;
  return true;
}
