import type { Backend, BackendMemory, Bindings, DeviceBuffer, Executable } from "../device.js";
import {
  type DType,
  dtypeBytes,
  decodeHost,
  encodeHost,
  type HostArray,
  hostView,
  roundTo,
} from "../dtype.js";
import { bug } from "../errors.js";
import type { Graph } from "../graph.js";
import type { Node } from "../node.js";
import type { RefArray } from "../op.js";
import { showDims } from "../shape.js";
import { buildProgram, type Rounding } from "./program.js";

/** Numbers in float64, or bytes that nobody has looked at yet. */
class ReferenceBuffer implements DeviceBuffer {
  values: { dtype: DType; data: Float64Array } | null = null;
  raw: Uint8Array<ArrayBuffer> | null = null;

  constructor(readonly bytes: number) {}

  /** The numbers, of which there are `size`, as `dtype`. */
  load(dtype: DType, size: number): Float64Array {
    if (this.values?.dtype !== dtype) {
      const bytes = this.encoded();
      this.values = { dtype, data: decodeHost(dtype, hostView(dtype, bytes.buffer, 0, size)) };
    }
    return this.values.data;
  }

  /** The bytes that storage of the dtype would hold. */
  encoded(): Uint8Array<ArrayBuffer> {
    const out = new Uint8Array(Math.ceil(this.bytes / 8) * 8);
    if (this.values) {
      const host = encodeHost(this.values.dtype, this.values.data);
      out.set(new Uint8Array(host.buffer, host.byteOffset, host.byteLength));
    } else if (this.raw) out.set(this.raw.subarray(0, out.length));
    return out;
  }
}

export interface ReferenceOptions {
  /** Applied to every f32 number that a node computes: what a rounding does to the result tells how far rounding leads. */
  round?: Rounding;
}

/**
 * The backend that is obviously right: it interprets a graph node by node in float64, copies every view, fuses and
 * shares nothing. f32 results keep their float64 digits, so that it can judge the others; halves and integers are
 * rounded at every node as storage does.
 */
export function reference({ round }: ReferenceOptions = {}): Backend {
  let owned = 0;
  let peak = 0;
  const own = (buffer: DeviceBuffer): ReferenceBuffer =>
    buffer instanceof ReferenceBuffer ? buffer : bug("a buffer of another backend");

  return {
    name: round ? "rounding reference" : "reference",
    allocate(bytes) {
      owned += bytes;
      peak = Math.max(peak, owned);
      return new ReferenceBuffer(bytes);
    },
    free(buffer) {
      owned -= buffer.bytes;
    },
    write(buffer, data: HostArray, byteOffset = 0) {
      const target = own(buffer);
      target.raw = target.encoded();
      target.raw.set(new Uint8Array(data.buffer, data.byteOffset, data.byteLength), byteOffset);
      target.values = null;
    },
    async read(buffer, bytes) {
      return own(buffer).encoded().slice(0, bytes).buffer;
    },
    prepare: (graph) => prepare(graph, round ?? null),
    memory: (): BackendMemory => ({ ownedBytes: owned, arenaBytes: 0, peakBytes: peak }),
    resetPeak() {
      peak = owned;
    },
    dispose() {},
  };
}

function prepare(graph: Graph, round: Rounding | null): Executable {
  const { nodes, leaves, scalars, roots } = graph;
  const leafSlot = new Map<Node, number>(leaves.map((node, slot) => [node, slot]));
  const scalarSlot = new Map<Node, number>(scalars.map((node, slot) => [node, slot]));
  const wanted = new Set(roots.map((r) => r.node));
  const program = buildProgram(nodes, new Set([...leaves, ...scalars]), wanted, round);
  // What a node is, without the node: its storage and sources change once it is computed.
  const lines = nodes.map((n) =>
    `${n.op.name} ${n.dtype}${showDims(n.shape.dims)} <- ${n.sources.map((s) => s.index).join(" ")}`.trimEnd(),
  );
  let peakBytes = 0;
  for (const n of nodes) peakBytes += n.shape.size * dtypeBytes(n.dtype);
  const rootStep = roots.map((r) => nodes.indexOf(r.node));
  const rootDType = roots.map((r) => r.node.dtype);

  const fetch = (node: Node, { leaves: bound, scalars: numbers }: Bindings): RefArray => {
    const { dtype } = node;
    const { dims, size } = node.shape;
    const slot = scalarSlot.get(node);
    if (slot !== undefined) return { dtype, dims, data: Float64Array.of(roundTo(dtype, numbers[slot]!)) };
    const leaf = bound[leafSlot.get(node)!]!;
    const data =
      leaf instanceof ReferenceBuffer ? leaf.load(dtype, size) : decodeHost(dtype, leaf as HostArray);
    return { dtype, dims, data };
  };

  return {
    peakBytes,
    run(bindings) {
      const results = new Array<Float64Array>(roots.length);
      program.run(
        (node) => fetch(node, bindings),
        (step, [first]) => {
          for (const [i, at] of rootStep.entries()) if (at === step) results[i] = first!.data;
        },
      );
      // All is read before anything is written: a root may be the memory of a parameter.
      for (const [i, data] of results.entries()) {
        const buffer = bindings.roots[i] as ReferenceBuffer;
        buffer.values = { dtype: rootDType[i]!, data: data.slice() };
        buffer.raw = null;
      }
    },
    explain: () => lines.map((line, i) => `${i}: ${line}`).join("\n"),
    dispose() {},
  };
}
