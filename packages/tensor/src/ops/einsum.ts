import { ConfigError, ShapeError } from "../errors.js";
import { showDims, sizeOf } from "../shape.js";
import type { Tensor } from "../tensor.js";
import { mul } from "./arithmetic.js";
import { matmul } from "./matmul.js";
import { permute, reshape, slice } from "./movement.js";
import { sum } from "./reduce.js";

/** A tensor whose axes have names, one letter each. */
interface Named {
  readonly x: Tensor;
  readonly labels: string;
}

const without = (labels: string, others: string): string =>
  [...labels].filter((l) => !others.includes(l)).join("");
const common = (labels: string, others: string): string =>
  [...labels].filter((l) => others.includes(l)).join("");

/**
 * Sums of products over named axes, as in NumPy: one letter per axis, operands apart by commas, the result behind "->".
 * Letters that are missing from the result are summed. Without "->" the result has the letters that occur once, in
 * alphabetical order. A letter twice in one operand takes the diagonal. Pairs are contracted as matrix products, the
 * pair with the smallest result first.
 *
 * @throws ConfigError when the text does not fit the operands, ShapeError when a letter has two sizes
 * @example
 * ```ts
 * einsum("bid,bjd->bij", q, k); // scores of attention
 * ```
 */
export function einsum(spec: string, ...operands: Tensor[]): Tensor {
  const { inputs, output } = parse(spec, operands);
  const sizes = checkSizes(inputs, operands);
  let terms = operands.map((x, i) => diagonal({ x, labels: inputs[i]! }));
  while (terms.length > 1) {
    const [i, j] = cheapestPair(terms, output, sizes);
    const rest = terms.filter((_, k) => k !== i && k !== j);
    const needed = output + rest.map((t) => t.labels).join("");
    terms = [...rest, contract(terms[i]!, terms[j]!, needed, sizes)];
  }
  return arrange(sumAway(terms[0]!, output), output);
}

function parse(spec: string, operands: readonly Tensor[]): { inputs: string[]; output: string } {
  const text = spec.replace(/\s/g, "");
  const fault = (expected: string, got = `"${spec}"`): ConfigError =>
    new ConfigError({ where: "einsum", expected, got });
  const match = /^([a-zA-Z]*(?:,[a-zA-Z]*)*)(?:->([a-zA-Z]*))?$/.exec(text);
  if (!match) throw fault('letters, commas and at most one "->"');
  const inputs = match[1]!.split(",");
  if (inputs.length !== operands.length)
    throw fault(`${inputs.length} operands for "${spec}"`, String(operands.length));
  const letters = inputs.join("");
  const once = [...letters]
    .filter((l) => letters.indexOf(l) === letters.lastIndexOf(l))
    .sort()
    .join("");
  const output = match[2] ?? once;
  for (const [i, l] of [...output].entries()) {
    if (!letters.includes(l)) throw fault(`letters of the operands in the result`, `"${l}"`);
    if (output.indexOf(l) !== i) throw fault("each letter of the result once", `"${output}"`);
  }
  for (const [i, labels] of inputs.entries()) {
    if (labels.length !== operands[i]!.ndim) {
      throw fault(
        `${labels.length} axes in operand ${i} ("${labels}")`,
        `shape ${showDims(operands[i]!.shape)}`,
      );
    }
  }
  return { inputs, output };
}

function checkSizes(inputs: readonly string[], operands: readonly Tensor[]): Map<string, number> {
  const sizes = new Map<string, number>();
  for (const [i, labels] of inputs.entries()) {
    for (const [d, l] of [...labels].entries()) {
      const size = operands[i]!.shape[d]!;
      const known = sizes.get(l);
      if (known !== undefined && known !== size) {
        throw new ShapeError({
          where: "einsum",
          expected: `size ${known} for "${l}"`,
          got: `${size} in operand ${i}`,
        });
      }
      sizes.set(l, size);
    }
  }
  return sizes;
}

/** Replaces a letter that occurs twice by the diagonal. */
function diagonal({ x, labels }: Named): Named {
  for (let a = 0; a < labels.length; a++) {
    const b = labels.indexOf(labels[a]!, a + 1);
    if (b < 0) continue;
    const order = [...labels].map((_, d) => d).filter((d) => d !== a && d !== b);
    const moved = permute(x, [...order, a, b]);
    const n = x.shape[a]!;
    const lead = moved.shape.slice(0, -2);
    const flat = reshape(moved, [...lead, n * n]);
    const picked = slice(flat, [...lead.map(() => null), [0, null, n + 1]]);
    return diagonal({ x: picked, labels: order.map((d) => labels[d]!).join("") + labels[a]! });
  }
  return { x, labels };
}

function cheapestPair(
  terms: readonly Named[],
  output: string,
  sizes: ReadonlyMap<string, number>,
): [number, number] {
  let best: [number, number] = [0, 1];
  let least = Number.POSITIVE_INFINITY;
  for (let i = 0; i < terms.length; i++) {
    for (let j = i + 1; j < terms.length; j++) {
      const others = output + terms.map((t, k) => (k === i || k === j ? "" : t.labels)).join("");
      const both = terms[i]!.labels + without(terms[j]!.labels, terms[i]!.labels);
      const size = sizeOf([...common(both, others)].map((l) => sizes.get(l)!));
      if (size < least) [best, least] = [[i, j], size];
    }
  }
  return best;
}

/** Sums over the axes that are not in `kept`. */
function sumAway({ x, labels }: Named, kept: string): Named {
  const axes = [...labels].map((l, d) => (kept.includes(l) ? -1 : d)).filter((d) => d >= 0);
  return axes.length ? { x: sum(x, axes), labels: common(labels, kept) } : { x, labels };
}

const arrange = ({ x, labels }: Named, order: string): Tensor =>
  permute(
    x,
    [...order].map((l) => labels.indexOf(l)),
  );

function contract(a: Named, b: Named, needed: string, sizes: ReadonlyMap<string, number>): Named {
  const left = sumAway(a, needed + b.labels);
  const right = sumAway(b, needed + a.labels);
  const shared = common(left.labels, right.labels);
  const batch = common(shared, needed);
  const inner = without(shared, needed);
  const rows = without(left.labels, shared);
  const columns = without(right.labels, shared);
  const dims = (labels: string): number[] => [...labels].map((l) => sizes.get(l)!);
  const result = batch + rows + columns;
  if (!inner || (!rows && !columns)) {
    // No sum, or one number per batch: element by element.
    const x = reshape(arrange(left, batch + inner + rows), [
      ...dims(batch + inner + rows),
      ...dims(columns).map(() => 1),
    ]);
    const y = reshape(arrange(right, batch + inner + columns), [
      ...dims(batch + inner),
      ...dims(rows).map(() => 1),
      ...dims(columns),
    ]);
    return sumAway({ x: mul(x, y), labels: batch + inner + rows + columns }, result);
  }
  const lead = batch ? [sizeOf(dims(batch))] : [];
  const [m, k, n] = [rows, inner, columns].map((labels) => sizeOf(dims(labels))) as [number, number, number];
  const x = reshape(arrange(left, batch + rows + inner), [...lead, m, k]);
  const y = reshape(arrange(right, batch + inner + columns), [...lead, k, n]);
  return { x: reshape(matmul(x, y), dims(result)), labels: result };
}
