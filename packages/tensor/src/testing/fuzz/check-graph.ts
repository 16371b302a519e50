import type { Backend } from "../../device.js";
import { reference } from "../../reference/backend.js";
import { difference, type Result } from "../compare.js";
import type { Tensor } from "../../tensor.js";
import { Rng } from "../rng.js";
import { runOn } from "../run.js";
import { Generator, isExact, type Known } from "./generator.js";
import { otherOps } from "./other-ops.js";
import {
  buildGraph,
  describeProgram,
  type Program,
  type ProgramRoot,
  rootLabels,
  shrink,
} from "./program.js";
import { type Draw, smoothOps } from "./smooth-ops.js";

const MENU = (): readonly (readonly [number, Draw])[] => [...smoothOps, ...otherOps];

/** A random program of 5 to 60 values, the same for a seed. */
export function randomGraph(seed: number): Program {
  const g = new Generator(seed);
  const { rng } = g;
  const menu = MENU();
  const total = menu.reduce((sum, [weight]) => sum + weight, 0);
  const size = rng.chance(0.7) ? rng.int(5, 20) : rng.int(20, 60);
  g.leaf(g.dims(1));
  g.leaf(g.dims(), "f32");
  for (let tries = 0; g.steps.length < size && tries < 10 * size; tries++) {
    let at = rng.next() * total;
    const draw = menu.find(([weight]) => (at -= weight) < 0)?.[1] ?? menu[0]![1];
    draw(g);
  }
  return { seed, steps: g.steps, roots: drawRoots(g) };
}

const isCell = (g: Generator, v: Known): boolean => g.steps[v.step]!.text.startsWith("parameter");
const value = (v: Known): ProgramRoot => ({ kind: "value", step: v.step, exact: isExact(v) });

function drawRoots(g: Generator): ProgramRoot[] {
  const { rng } = g;
  const loss = rng.chance(0.65) ? lossOf(g) : null;
  const { known } = g;
  const roots: ProgramRoot[] = [];
  const some = rng.int(1, 4);
  for (let i = 0; i < some; i++) roots.push(value(g.deepest(known, 4)));
  const cells = known.filter((v) => isCell(g, v));
  let stepped: Known | null = null;
  if (loss) {
    const reached = known.filter((v) => v.tensor.dtype === "f32" && loss.ancestors.has(v.step));
    const leaves = reached.filter((v) => g.steps[v.step]!.inputs.length === 0);
    const chosen = leaves.slice(0, 5);
    // With respect to values on the way as well, and to one that may not matter.
    if (rng.chance(0.4)) chosen.push(rng.pick(reached));
    if (rng.chance(0.1)) chosen.push(rng.pick(known.filter((v) => v.tensor.dtype === "f32")));
    roots.push({ kind: "gradient", loss: loss.step, wrt: [...new Set(chosen.map((v) => v.step))] });
    const trained = cells.filter((v) => loss.ancestors.has(v.step));
    if (trained.length && rng.chance(0.7)) {
      stepped = rng.pick(trained);
      roots.push({ kind: "descend", loss: loss.step, parameter: stepped.step });
    }
  }
  for (const cell of cells) {
    if (cell === stepped || rng.chance(0.5)) continue;
    const fits = (v: Known): boolean =>
      v.tensor.dtype === "f32" && v.tensor.node.shape === cell.tensor.node.shape;
    const source = g.deepest(known.filter(fits), 3);
    roots.push({ kind: "assign", parameter: cell.step, value: source.step, exact: isExact(source) });
  }
  return roots;
}

/** A scalar made of up to three values through which gradients can be compared. */
function lossOf(g: Generator): Known | null {
  const fits = (k: Known): boolean =>
    k.tensor.dtype === "f32" &&
    !k.kinked &&
    !k.narrow &&
    k.bound < 1e4 &&
    k.tensor.size > 0 &&
    k.ancestors.size > 1;
  const fitting = g.known.filter(fits);
  if (!fitting.length) return null;
  const parts = Array.from({ length: g.rng.int(1, 3) }, () => g.deepest(fitting, 4));
  const terms = parts.flatMap((v) => squareSum(g, v) ?? []);
  const first = terms[0] ?? null;
  return terms.slice(1).reduce((total, term) => {
    const build = ([a, b]: readonly Tensor[]) => a!.add(b!);
    const inputs = [total!, term];
    return (
      g.add({ text: "add($0, $1)", inputs, build, bound: total!.bound + term.bound, grain: "any" }) ?? total
    );
  }, first);
}

/** Σ v / 8, or Σ v² / 8 so that the gradient depends on the value. */
function squareSum(g: Generator, v: Known): Known | null {
  const bound = (v.bound * v.tensor.size) / 8;
  const squared = g.rng.chance(0.5) && v.bound < 30;
  return g.add({
    text: squared ? "sum($0²) / 8" : "sum($0) / 8",
    inputs: [v],
    build: ([x]) => (squared ? x!.mul(x!) : x!).sum().mul(0.125),
    bound: squared ? bound * v.bound : bound,
    grain: "any",
  });
}

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
function jitter(seed: number): (x: number, op: string) => number {
  const rng = new Rng(seed);
  return (x, op) => {
    const rounded = Math.fround(x);
    if (rounded === x || !Number.isFinite(rounded)) return rounded;
    const relative = CORRECTLY_ROUNDED.has(op) ? 2 ** -24 : 2 ** -20;
    return x * (1 + relative * (rng.chance(0.5) ? 1 : -1));
  };
}

/** How far two runs of the reference lie apart, and which numbers are out of f32's range. */
function noiseOf(expected: Result, moved: Result): { most: number; wild: (at: number) => boolean } {
  let most = 0;
  for (let i = 0; i < expected.data.length; i++) {
    const d = Math.abs(expected.data[i]! - moved.data[i]!);
    if (Number.isFinite(d)) most = Math.max(most, d);
  }
  return { most, wild: (at) => Number.isFinite(expected.data[at]!) !== Number.isFinite(moved.data[at]!) };
}

/** What a backend makes of a program, or what is wrong with it. */
async function fault(backend: Backend, program: Program): Promise<string | null> {
  const build = () => buildGraph(program);
  const expected = await runOn(reference(), build);
  const moved = await runOn(reference({ round: jitter(program.seed) }), build);
  let got: Result[];
  let repeated: Result[];
  try {
    got = await runOn(backend, build);
    repeated = await runOn(backend, build);
  } catch (error) {
    return error instanceof Error ? (error.stack ?? error.message) : String(error);
  }
  for (const [i, { text, exact }] of rootLabels(program).entries()) {
    const result = expected[i]!;
    const { most, wild } = noiseOf(result, moved[i]!);
    let scale = 0;
    for (let k = 0; k < result.data.length; k++) {
      const size = Math.abs(result.data[k]!);
      if (Number.isFinite(size)) scale = Math.max(scale, size);
    }
    // 32 times what the moved run shows, since one run may be lucky; results without roundings must be equal.
    const allowance = (at: number) => (wild(at) ? Number.POSITIVE_INFINITY : 32 * most + 1e-5 * scale);
    const wrong = exact
      ? difference(got[i]!, result, { rtol: 0, atol: 0 })
      : difference(got[i]!, result, { rtol: 1e-5, atol: 1e-30 }, allowance);
    if (wrong) return `${text}${exact ? " (exact)" : ""}: ${wrong}`;
    const replayed = difference(repeated[i]!, got[i]!, { rtol: 0, atol: 0 });
    if (replayed) return `${text}, second run of the same plan: ${replayed}`;
  }
  return null;
}

/**
 * Compares a backend with the reference on the random graph of a seed, and its first run with a second one.
 *
 * @throws Error with the smallest failing graph found and what is wrong
 */
export async function checkGraph(backend: Backend, seed: number): Promise<void> {
  const program = randomGraph(seed);
  const wrong = await fault(backend, program);
  if (!wrong) return;
  const small = await shrink(program, async (p) => (await fault(backend, p)) !== null);
  throw new Error(`${backend.name}: ${describeProgram(small)}\n  ${(await fault(backend, small)) ?? wrong}`);
}
