import { decodeHost, isFloat, roundTo } from "../dtype.js";
import { bug } from "../errors.js";
import { Node } from "../node.js";
import type { Aval, RefArray } from "../op.js";
import { sizeOf } from "../shape.js";
import { Tensor } from "../tensor.js";
import { dataOp } from "../ops/create.js";
import { referenceOf } from "./loops.js";
import { scalarFunction, wrapInteger } from "./scalar.js";

/** What becomes of a number that an f32 node computed. */
export type Rounding = (value: number, op: string) => number;

/** The results of one node: several for a multi-output op. */
type Results = readonly RefArray[];

interface Step {
  readonly node: Node;
  readonly sources: readonly number[];
  /** Steps whose results are not read after this one. */
  readonly dead: number[];
  run(inputs: readonly Results[]): Results;
}

/** Nodes in order, each a plain loop over its whole value. */
export interface Program {
  readonly steps: readonly Step[];
  run(
    feed: (node: Node, step: number) => RefArray | null,
    keep: (step: number, results: Results) => void,
  ): void;
}

/**
 * Turns nodes, sources before results, into steps. Nodes in `fed` get their values from outside at each run. With
 * `round`, it is applied to every f32 number computed; without, these keep their float64 digits.
 */
export function buildProgram(
  nodes: readonly Node[],
  fed: ReadonlySet<Node>,
  kept: ReadonlySet<Node>,
  round: Rounding | null,
): Program {
  const place = new Map<Node, number>();
  const lastUse = new Map<number, number>();
  const steps = nodes.map((node, at): Step => {
    place.set(node, at);
    const sources = fed.has(node)
      ? []
      : node.sources.map((s) => place.get(s) ?? bug(`${node.op.name} before its source`));
    for (const s of sources) lastUse.set(s, at);
    return {
      node,
      sources,
      dead: [],
      run: fed.has(node) ? () => bug("a fed node has no step") : stepOf(node, round),
    };
  });
  for (const [step, at] of lastUse) if (!kept.has(steps[step]!.node)) steps[at]!.dead.push(step);
  return {
    steps,
    run(feed, keep) {
      const values: (Results | null)[] = new Array(steps.length).fill(null);
      for (const [at, step] of steps.entries()) {
        const given = fed.has(step.node) ? feed(step.node, at) : null;
        const results = given ? [given] : step.run(step.sources.map((s) => values[s]!));
        values[at] = results;
        keep(at, results);
        for (const s of step.dead) values[s] = null;
      }
    },
  };
}

const avalsOf = (node: Node): Aval[] =>
  node.outputs
    ? node.outputs.map((o) => ({ dtype: o.dtype, dims: o.shape.dims }))
    : [{ dtype: node.dtype, dims: node.shape.dims }];

function stepOf(node: Node, round: Rounding | null): Step["run"] {
  const { op, arg } = node;
  const out = avalsOf(node);
  if (op.name === "pick") return ([source]) => [source![arg as number]!];
  if (op.name === "data" && node.storage?.host) {
    const constant = { ...out[0]!, data: decodeHost(node.dtype, node.storage.host) };
    return () => [constant];
  }
  if (op.name === "scalar") {
    const constant = { ...out[0]!, data: Float64Array.of(roundTo(node.dtype, arg as number)) };
    return () => [constant];
  }
  const reference = referenceOf(op);
  if (reference) {
    return (inputs) => {
      const results = reference(
        inputs.map((r) => r[0]!),
        arg,
        out,
      );
      const list = results instanceof Float64Array ? [results] : results;
      return out.map((o, i) => ({
        ...o,
        data: stored(o, list[i] ?? bug(`${op.name} has too few results`), op.name, round),
      }));
    };
  }
  if (op.scalar) return elementwise(node, round);
  if (op.meaning) return meaningOf(node, out, round);
  return bug(`${op.name} has neither a reference nor a meaning`);
}

/** Checks the size of a result, rounds floats as storage of their dtype does, and wraps integers. */
function stored(
  { dtype, dims }: Aval,
  data: Float64Array,
  name: string,
  round: Rounding | null,
): Float64Array {
  if (data.length !== sizeOf(dims)) bug(`${name} gave ${data.length} numbers for ${sizeOf(dims)}`);
  if (dtype === "f32") {
    if (round) for (let i = 0; i < data.length; i++) data[i] = round(data[i]!, name);
  } else if (!isFloat(dtype)) {
    for (let i = 0; i < data.length; i++) data[i] = wrapInteger(dtype, data[i]!);
  } else if (dtype !== "f64") {
    for (let i = 0; i < data.length; i++) data[i] = roundTo(dtype, data[i]!);
  }
  return data;
}

function elementwise(node: Node, round: Rounding | null): Step["run"] {
  const out = avalsOf(node)[0]!;
  const f = scalarFunction(
    node.op,
    node.dtype,
    node.sources.map((s) => s.dtype),
    false,
  );
  return (inputs) => {
    const data = new Float64Array(node.shape.size);
    const arrays = inputs.map((r) => r[0]!.data);
    const strides = inputs.map((r) => (r[0]!.dims.length === 0 ? 0 : 1));
    const x = new Array<number>(arrays.length);
    for (let i = 0; i < data.length; i++) {
      for (let k = 0; k < x.length; k++) x[k] = arrays[k]![i * strides[k]!]!;
      data[i] = f(...x);
    }
    if (round && out.dtype === "f32") stored(out, data, node.op.name, round);
    return [{ ...out, data }];
  };
}

/** A composite runs as its meaning, built once on placeholders for its inputs. */
function meaningOf(node: Node, out: readonly Aval[], round: Rounding | null): Step["run"] {
  const inputs = node.sources.map((s) => new Tensor(new Node(dataOp, s.dtype, s.shape, null, [])));
  const answer = node.op.meaning!(inputs, node.arg);
  const outputs = (Array.isArray(answer) ? (answer as readonly Tensor[]) : [answer as Tensor]).map(
    (t) => t.node,
  );
  const nodes = nodesOf(outputs);
  const fed = new Set(inputs.map((t) => t.node));
  const program = buildProgram(nodes, fed, new Set(outputs), round);
  const place = new Map(inputs.map((t, i) => [t.node, i]));
  return (values) => {
    const results: RefArray[] = [];
    program.run(
      (leaf) => values[place.get(leaf)!]![0]!,
      (step, [first]) => {
        for (const [i, o] of outputs.entries())
          if (o === nodes[step]) results[i] = { ...out[i]!, data: first!.data };
      },
    );
    return results;
  };
}

/** All nodes that some results depend on, in the order in which they were made. */
export function nodesOf(results: readonly Node[]): Node[] {
  const seen = new Set<Node>(results);
  const stack = [...results];
  while (stack.length) {
    for (const source of stack.pop()!.sources) {
      if (!seen.has(source)) {
        seen.add(source);
        stack.push(source);
      }
    }
  }
  return [...seen].sort((a, b) => a.id - b.id);
}
