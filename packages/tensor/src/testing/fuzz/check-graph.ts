import { compile } from "../../compile.js";
import { setDefaultBackend } from "../../default-backend.js";
import type { Backend } from "../../device.js";
import { evaluate } from "../../evaluate.js";
import { reference } from "../../reference/backend.js";
import type { Tensor } from "../../tensor.js";
import type { Result } from "../compare.js";
import { runOn, type Wanted } from "../run.js";
import { jitter, judge, sameBits } from "./judge.js";
import {
  buildGraph,
  buildValues,
  describeProgram,
  type Program,
  rootLabels,
  shrink,
  wantedOf,
  withoutAssignments,
} from "./program.js";
import { type GraphOptions, randomGraph } from "./random-graph.js";

/** What a backend makes of a program, or what is wrong with it. */
async function fault(backend: Backend, program: Program): Promise<string | null> {
  const build = () => buildGraph(program);
  const labels = rootLabels(program);
  const expected = await runOn(reference(), build);
  const moved = await runOn(reference({ round: jitter(program.seed) }), build);
  try {
    const got = await runOn(backend, build);
    const wrong = judge(labels, got, expected, moved);
    if (wrong) return wrong;
    const again = sameBits(labels, await runOn(backend, build), got);
    if (again) return `second run of the same plan: ${again}`;
    if (program.seed % 3 === 0) {
      const staged = await inStages(backend, program);
      const late = staged && judge(labels, staged, expected, moved);
      if (late) return `with values on the way evaluated first: ${late}`;
    }
    return program.seed % 3 === 1 ? await compiledFault(backend, program) : null;
  } catch (error) {
    return error instanceof Error ? (error.stack ?? error.message) : String(error);
  }
}

/** The results when every third value was asked for beforehand; null where gradients need those values whole. */
async function inStages(backend: Backend, program: Program): Promise<Result[] | null> {
  if (program.roots.some((r) => r.kind !== "value")) return null;
  setDefaultBackend(backend);
  const values = buildValues(program);
  await evaluate(...values.filter((_, i) => i % 3 === program.steps.length % 3));
  return runOn(backend, () => program.roots.flatMap((root) => wantedOf(root, values)));
}

/** The program as a compiled function of its leaves, called on two sets of numbers. */
async function compiledFault(backend: Backend, whole: Program): Promise<string | null> {
  const program = withoutAssignments(whole);
  const labels = rootLabels(program);
  const leaves = (shift: number): Tensor[] => program.steps.flatMap((s) => (s.fresh ? [s.fresh(shift)] : []));
  const f = (...given: Tensor[]): Wanted[] => buildGraph(program, given);
  const compiled = compile(f);
  for (const shift of [0, 1]) {
    const expected = await runOn(reference(), () => f(...leaves(shift)));
    const moved = await runOn(reference({ round: jitter(program.seed) }), () => f(...leaves(shift)));
    setDefaultBackend(backend);
    const results = (await compiled(...leaves(shift))) as Tensor[];
    const got = await runOn(backend, () => results);
    const wrong = judge(labels, got, expected, moved);
    if (wrong) return `compiled, call ${shift + 1}: ${wrong}`;
  }
  return null;
}

/**
 * Compares a backend with the reference on the random graph of a seed: evaluated twice; for every third seed also piece
 * by piece, and for another third as a compiled function called on two sets of numbers.
 *
 * @throws Error with the smallest failing graph found and what is wrong
 */
export async function checkGraph(backend: Backend, seed: number, options?: GraphOptions): Promise<void> {
  const program = randomGraph(seed, options);
  const wrong = await fault(backend, program);
  if (!wrong) return;
  const small = await shrink(program, async (p) => (await fault(backend, p)) !== null);
  throw new Error(`${backend.name}: ${describeProgram(small)}\n  ${(await fault(backend, small)) ?? wrong}`);
}
