import type { Tensor } from "../../tensor.js";
import { Generator, isExact, type Known } from "./generator.js";
import { otherOps } from "./other-ops.js";
import { isParameter, type Program, type ProgramRoot } from "./program.js";
import { type Draw, smoothOps } from "./smooth-ops.js";

const MENU = (): readonly (readonly [number, Draw])[] => [...smoothOps, ...otherOps];

export interface GraphOptions {
  /** Tensors of up to 40,000 elements instead of 1,500, so that work is split among threads. Default: false. */
  large?: boolean;
  /** Whether there are values in f64, which not every backend has. Default: true. */
  f64?: boolean;
}

/** A random program of 5 to 60 values, the same for a seed. */
export function randomGraph(seed: number, { large = false, f64 = true }: GraphOptions = {}): Program {
  const g = new Generator(seed, large, f64);
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

const isCell = (g: Generator, v: Known): boolean => isParameter(g.steps[v.step]!);
const value = (v: Known): ProgramRoot => ({ kind: "value", step: v.step, exact: isExact(v) });

function drawRoots(g: Generator): ProgramRoot[] {
  const { rng } = g;
  const loss = rng.chance(0.65) ? lossOf(g) : null;
  const { known } = g;
  const roots: ProgramRoot[] = [];
  const some = rng.int(1, 4);
  // A parameter's own value is read after assignments: they say how exact it is.
  const read = known.filter((v) => !isCell(g, v));
  for (let i = 0; i < some && read.length; i++) roots.push(value(g.deepest(read, 4)));
  const cells = known.filter((v) => isCell(g, v));
  let stepped: Known | null = null;
  if (loss) {
    const reached = known.filter((v) => v.tensor.dtype === "f32" && loss.ancestors.has(v.step));
    const leaves = reached.filter((v) => g.steps[v.step]!.inputs.length === 0);
    const chosen = leaves.slice(0, 5);
    // With respect to values on the way as well, and to one that may not matter.
    if (reached.length && rng.chance(0.4)) chosen.push(rng.pick(reached));
    if (rng.chance(0.1)) chosen.push(rng.pick(known.filter((v) => v.tensor.dtype === "f32")));
    const order = rng.chance(0.25) ? 2 : 1;
    if (chosen.length)
      roots.push({ kind: "gradient", loss: loss.step, wrt: [...new Set(chosen.map((v) => v.step))], order });
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
