import { isFloat } from "./dtype.js";
import { bug, DTypeError, ShapeError, StaleError } from "./errors.js";
import { inNewPhase, Node } from "./node.js";
import { ones, zeros } from "./ops/create.js";
import { add, cast } from "./ops/elementwise.js";
import { pickOp } from "./ops/movement.js";
import { sameDims, showDims } from "./shape.js";
import { Tensor } from "./tensor.js";

let walkId = 0;

/** Nodes that a value depends on, sources before results; stored nodes and those in `stop` are not entered. */
function orderFrom(ys: readonly Node[], stop: ReadonlySet<Node> | null): Node[] {
  // Negative marks, so that these walks and those of evaluation never meet.
  const entered = -2 * ++walkId;
  const finished = entered - 1;
  const order: Node[] = [];
  const stack: Node[] = [];
  for (const y of ys) {
    stack.push(y);
    while (stack.length) {
      const node = stack.at(-1)!;
      if (node.mark === finished) {
        stack.pop();
      } else if (node.mark === entered || node.storage || node.sources.length === 0 || stop?.has(node)) {
        stack.pop();
        node.mark = finished;
        node.index = order.length;
        order.push(node);
      } else {
        node.mark = entered;
        const s = node.sources;
        for (let i = s.length - 1; i >= 0; i--) {
          if (s[i]!.mark !== entered && s[i]!.mark !== finished) stack.push(s[i]!);
        }
      }
    }
  }
  return order;
}

/**
 * The reverse pass: given gradients arriving at `ys`, those arriving at `wrt`, as more graph; null where nothing
 * arrives. With `cutAtWrt`, nothing flows through a node of `wrt` into what it was made from.
 *
 * @internal
 */
export function pullback(
  ys: readonly Tensor[],
  dys: readonly (Tensor | null)[],
  wrt: readonly Node[],
  cutAtWrt = false,
): (Tensor | null)[] {
  const wanted = new Set(wrt);
  const order = orderFrom(
    ys.map((y) => y.node),
    cutAtWrt ? wanted : null,
  );
  // Places in this walk: a row may begin a walk of its own below, which numbers the nodes anew.
  const from = order.map((node) =>
    node.storage || (cutAtWrt && wanted.has(node)) ? [] : node.sources.map((s) => s.index),
  );
  const needs = new Uint8Array(order.length);
  for (const [i, node] of order.entries()) {
    if (wanted.has(node)) needs[i] = 1;
    else if (node.op.name !== "stopGradient" && (isFloat(node.dtype) || node.outputs)) {
      for (const s of from[i]!) if (needs[s]) needs[i] = 1;
    }
  }

  // Gradients that have arrived, per node and output.
  const arrived: (Tensor[] | undefined)[][] = order.map(() => []);
  const send = (place: number, output: number, dy: Tensor): void => {
    const slots = arrived[place]!;
    (slots[output] ??= []).push(dy);
  };
  for (const [i, { node }] of ys.entries()) {
    const dy = dys[i];
    if (dy && needs[node.index]) send(node.index, 0, dy);
  }

  const result = new Map<Node, Tensor>();
  inNewPhase(() => {
    for (let i = order.length - 1; i >= 0; i--) {
      const node = order[i]!;
      const slots = arrived[i]!;
      if (!needs[i] || slots.length === 0) continue;
      const sums = Array.from(slots, (list) => (list ? balancedSum(list) : null));
      if (wanted.has(node)) {
        if (sums[0]) result.set(node, sums[0]);
        if (cutAtWrt) continue;
      }
      if (node.sources.length === 0 || node.storage) continue;
      if (node.op.name === "pick") {
        const source = from[i]![0]!;
        if (needs[source]) send(source, node.arg as number, sums[0]!);
        continue;
      }
      const flags = from[i]!.map((s) => needs[s] === 1);
      if (!flags.includes(true)) continue;
      const grads = vjpOf(node, sums, flags);
      for (const [k, source] of node.sources.entries()) {
        const g = grads[k];
        if (!g || !flags[k]) continue;
        if (!sameDims(g.shape, source.shape.dims)) {
          bug(
            `gradient of ${node.op.name} for input ${k} has shape ${showDims(g.shape)}, not ${showDims(source.shape.dims)}`,
          );
        }
        send(from[i]![k]!, 0, g.dtype === source.dtype ? g : cast(g, source.dtype));
      }
      arrived[i] = [];
    }
  });
  return wrt.map((node) => result.get(node) ?? null);
}

function vjpOf(node: Node, dys: (Tensor | null)[], needs: boolean[]): readonly (Tensor | null)[] {
  const { op } = node;
  const inputs = node.sources.map((s) => new Tensor(s));
  const count = node.outputs?.length ?? 1;
  const all = Array.from({ length: count }, (_, i) => dys[i] ?? null);
  if (op.vjp) {
    const outputs = outputsOf(node);
    // Rows read `dy` as the gradient of the first output: a real zero where only others have one.
    const dy = all[0] ?? zeros(outputs[0]!.shape, { dtype: outputs[0]!.dtype });
    return op.vjp(dy, { inputs, outputs, arg: node.arg, needs, dys: all });
  }
  if (op.meaning) {
    const outs = op.meaning(inputs, node.arg);
    const outputs = Array.isArray(outs) ? (outs as readonly Tensor[]) : [outs as Tensor];
    const wrt = node.sources.filter((_, k) => needs[k]);
    const grads = pullback(outputs, all, wrt, true);
    const byNode = new Map(wrt.map((n, i) => [n, grads[i]!]));
    const answered = new Set<Node>();
    // One node may be several inputs: its whole gradient has arrived once already.
    return node.sources.map((s, k) => {
      if (!needs[k] || answered.has(s)) return null;
      answered.add(s);
      return byNode.get(s) ?? null;
    });
  }
  throw new DTypeError({
    where: `gradient of ${op.name}`,
    expected: "an op that can be differentiated",
    got: op.name,
    hint: "wrap its input in stopGradient(...) if no gradient is meant",
  });
}

function outputsOf(node: Node): Tensor[] {
  if (!node.outputs) return [new Tensor(node)];
  return node.outputs.map((o, i) => new Tensor(new Node(pickOp, o.dtype, o.shape, i, [node])));
}

/** Adds terms pairwise, so that the depth is logarithmic and the order fixed. */
function balancedSum(terms: readonly Tensor[]): Tensor {
  let level = [...terms];
  while (level.length > 1) {
    const next: Tensor[] = [];
    for (let i = 0; i + 1 < level.length; i += 2) next.push(add(level[i]!, level[i + 1]!));
    if (level.length % 2) next.push(level.at(-1)!);
    level = next;
  }
  return level[0]!;
}

/**
 * dy/dx for each x of `wrt`: the gradient of a scalar y, or Σ dy · ∂y/∂x for a y of any shape with the gradient `dy` that
 * arrives at it. A tensor on which y does not depend gets zeros. The results are lazy graph and can be differentiated again.
 *
 * @throws ShapeError if y is no scalar and no `dy` is given
 * @throws DTypeError if y or one of `wrt` is not of a float dtype
 */
export function gradients(y: Tensor, wrt: readonly Tensor[], dy?: Tensor): Tensor[] {
  if (!dy && y.size !== 1) {
    throw new ShapeError({
      where: "gradients",
      expected: "a scalar (one element) to differentiate",
      got: `shape ${showDims(y.shape)}`,
      hint: "reduce it with .sum() or .mean(), or pass dy",
    });
  }
  if (dy && !sameDims(dy.shape, y.shape)) {
    throw new ShapeError({
      where: "gradients",
      expected: `dy of shape ${showDims(y.shape)}`,
      got: showDims(dy.shape),
    });
  }
  for (const [i, t] of [y, ...wrt].entries()) {
    if (!isFloat(t.dtype)) {
      throw new DTypeError({
        where: "gradients",
        expected: `${i === 0 ? "y" : `wrt[${i - 1}]`} of a float dtype`,
        got: t.dtype,
        hint: "integers have no gradient: cast, or use stopGradient",
      });
    }
  }
  const nodes = wrt.map((t) => t.node);
  const out = pullback([y], [dy ?? ones(y.shape, { dtype: y.dtype })], nodes);
  if (out.includes(null)) expectUncut(y, nodes, out);
  return out.map((g, i) => g ?? zeros(wrt[i]!.shape, { dtype: wrt[i]!.dtype }));
}

/** A value that was computed and stored has let go of what it was made from: a missing gradient may be lost, not zero. */
function expectUncut(y: Tensor, wrt: readonly Node[], grads: readonly (Tensor | null)[]): void {
  const cut = orderFrom([y.node], null).filter((n) => n.storage && n.op.name !== "data" && isFloat(n.dtype));
  for (const [i, node] of wrt.entries()) {
    if (grads[i] === null && cut.some((c) => c.id > node.id)) {
      throw new StaleError({
        where: "gradients",
        expected: `a graph from y to wrt[${i}]`,
        got: "one that was cut where a value had been computed already",
        hint: "take gradients before reading values, or evaluate them together; stopGradient marks what is constant",
      });
    }
  }
}
