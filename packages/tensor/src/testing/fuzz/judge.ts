import { difference, type Result } from "../compare.js";
import { Rng } from "../rng.js";
import type { Label } from "./program.js";

const CORRECTLY_ROUNDED = new Set([
  "add",
  "sub",
  "mul",
  "div",
  "sqrt",
  "neg",
  "abs",
  "maximum",
  "minimum",
  "where",
  "cast",
]);

/** Moves every number that f32 cannot hold by about what a backend's approximation may be off. */
export function jitter(seed: number): (x: number, op: string) => number {
  const rng = new Rng(seed);
  return (x, op) => {
    const rounded = Math.fround(x);
    if (rounded === x || !Number.isFinite(rounded)) return rounded;
    const relative = CORRECTLY_ROUNDED.has(op) ? 2 ** -24 : 2 ** -20;
    return x * (1 + relative * (rng.chance(0.5) ? 1 : -1));
  };
}

/**
 * What is wrong with the results of a graph, or null. Results without roundings must be equal; the others may be off by
 * what roundings do to them, as two runs of the reference show, one of them with `jitter`.
 */
export function judge(
  labels: readonly Label[],
  got: readonly Result[],
  expected: readonly Result[],
  moved: readonly Result[],
): string | null {
  for (const [i, { text, exact }] of labels.entries()) {
    const result = expected[i]!;
    const wrong = exact
      ? difference(got[i]!, result, { rtol: 0, atol: 0 })
      : difference(got[i]!, result, { rtol: 1e-5, atol: 1e-30 }, allowance(result, moved[i]!));
    if (wrong) return `${text}${exact ? " (exact)" : ""}: ${wrong}`;
  }
  return null;
}

/** Where two runs give other bits, or null. */
export function sameBits(
  labels: readonly Label[],
  a: readonly Result[],
  b: readonly Result[],
): string | null {
  for (const [i, { text }] of labels.entries()) {
    const wrong = difference(a[i]!, b[i]!, { rtol: 0, atol: 0 });
    if (wrong) return `${text}: ${wrong}`;
  }
  return null;
}

function allowance(expected: Result, moved: Result): (at: number) => number {
  let noise = 0;
  let scale = 0;
  for (let i = 0; i < expected.data.length; i++) {
    const [x, y] = [expected.data[i]!, moved.data[i]!];
    if (Number.isFinite(x - y)) noise = Math.max(noise, Math.abs(x - y));
    if (Number.isFinite(x)) scale = Math.max(scale, Math.abs(x));
  }
  return (at) => {
    // One of the runs has left the range of f32: nothing can be said.
    if (Number.isFinite(expected.data[at]!) !== Number.isFinite(moved.data[at]!))
      return Number.POSITIVE_INFINITY;
    return 100 * noise + 1e-5 * scale; // one run may be lucky
  };
}
