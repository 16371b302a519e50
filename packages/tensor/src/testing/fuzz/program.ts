import { gradients } from "../../autograd.js";
import { type DType, encodeHost } from "../../dtype.js";
import { fromHost } from "../../ops/create.js";
import { type Parameter, parameter } from "../../parameter.js";
import { type Dims, sameDims, showDims, sizeOf } from "../../shape.js";
import type { Tensor } from "../../tensor.js";
import { Rng } from "../rng.js";
import type { Wanted } from "../run.js";

/** One line of a program: a value made from earlier ones. */
export interface Step {
  /** What is done, with $0, $1, ... for the inputs. */
  readonly text: string;
  readonly inputs: readonly number[];
  readonly dtype: DType;
  readonly dims: Dims;
  build(inputs: readonly Tensor[]): Tensor;
  /** Leaves: the same with other numbers, as data. */
  fresh?(shift: number): Tensor;
}

export type ProgramRoot =
  | { readonly kind: "value"; readonly step: number; readonly exact: boolean }
  /** The gradients of a scalar with respect to some values; of the second order: those of their sum of squares. */
  | {
      readonly kind: "gradient";
      readonly loss: number;
      readonly wrt: readonly number[];
      readonly order: 1 | 2;
    }
  | { readonly kind: "assign"; readonly parameter: number; readonly value: number; readonly exact: boolean }
  /** parameter ← parameter − gradient / 8 */
  | { readonly kind: "descend"; readonly loss: number; readonly parameter: number };

/** A graph as text that can be built again and again, cut down, and printed. */
export interface Program {
  readonly seed: number;
  readonly steps: readonly Step[];
  readonly roots: readonly ProgramRoot[];
}

/** Small numbers for a leaf, the same for a seed: halves from −3 to 3 unless something else is asked for. */
export function leafValues(dtype: DType, size: number, seed: number, rough: boolean): Float64Array {
  const rng = new Rng(seed);
  return Float64Array.from({ length: size }, () => {
    if (dtype === "bool") return rng.int(0, 1);
    if (dtype === "u8" || dtype === "u32") return rng.int(0, 6);
    if (dtype === "i8" || dtype === "i32") return rng.int(-3, 3);
    return rough ? Math.fround(rng.between(-2, 2)) : rng.int(-6, 6) / 2;
  });
}

export function leafStep(dtype: DType, dims: Dims, seed: number, rough: boolean, cell = false): Step {
  const name = cell ? "parameter" : "leaf";
  return {
    text: `${name}(${rough ? "any numbers" : "halves"}, seed ${seed})`,
    inputs: [],
    dtype,
    dims,
    build: () => (cell ? parameter(leafOf(dtype, dims, seed, rough)) : leafOf(dtype, dims, seed, rough)),
    fresh: (shift) => leafOf(dtype, dims, seed + shift, rough),
  };
}

const leafOf = (dtype: DType, dims: Dims, seed: number, rough: boolean): Tensor =>
  fromHost(dtype, dims, encodeHost(dtype, leafValues(dtype, sizeOf(dims), seed, rough)));

/** All values of a program, as a new graph; leaves may be given. */
export function buildValues({ steps }: Program, leaves?: readonly Tensor[]): Tensor[] {
  const values: Tensor[] = [];
  let next = 0;
  for (const step of steps) {
    const given = step.fresh && leaves ? leaves[next++]! : null;
    values.push(given ?? step.build(step.inputs.map((i) => values[i]!)));
  }
  return values;
}

/** What the program asks for, as a new graph. */
export function buildGraph(program: Program, leaves?: readonly Tensor[]): Wanted[] {
  const values = buildValues(program, leaves);
  return program.roots.flatMap((root) => wantedOf(root, values));
}

/** The program with values and gradients alone. */
export const withoutAssignments = (program: Program): Program => ({
  ...program,
  roots: program.roots.filter((r) => r.kind === "value" || r.kind === "gradient"),
});

export function wantedOf(root: ProgramRoot, values: readonly Tensor[]): Wanted[] {
  const parameterAt = (i: number): Parameter => values[i] as Parameter;
  switch (root.kind) {
    case "value":
      return [values[root.step]!];
    case "gradient": {
      const wrt = root.wrt.map((i) => values[i]!);
      const first = gradients(values[root.loss]!, wrt);
      if (root.order === 1) return first;
      return gradients(
        first.map((g) => g.mul(g).sum().mul(0.125)).reduce((a, b) => a.add(b)),
        wrt,
      );
    }
    case "assign":
      return [parameterAt(root.parameter).assign(values[root.value]!)];
    case "descend": {
      const p = parameterAt(root.parameter);
      return [p.assign(p.sub(gradients(values[root.loss]!, [p])[0]!.mul(0.125)))];
    }
  }
}

/** What a result is, and whether it must be right to the last bit. */
export interface Label {
  readonly text: string;
  readonly exact: boolean;
}

/** A label for each result of `buildGraph`. */
export const rootLabels = ({ roots }: Program): Label[] => roots.flatMap(labelsOf);

function labelsOf(root: ProgramRoot): Label[] {
  switch (root.kind) {
    case "value":
      return [{ text: `v${root.step}`, exact: root.exact }];
    case "gradient":
      return root.wrt.map((i) => ({
        text: `${root.order === 2 ? "gradient of |gradient|²" : "gradient"} of v${root.loss} for v${i}`,
        exact: false,
      }));
    case "assign":
      return [{ text: `v${root.parameter} after v${root.parameter} := v${root.value}`, exact: root.exact }];
    case "descend":
      return [{ text: `v${root.parameter} after a step down the gradient of v${root.loss}`, exact: false }];
  }
}

/** The program as text, one value a line. */
export function describeProgram(program: Program): string {
  const lines = program.steps.map(({ text, inputs, dtype, dims }, i) => {
    const filled = text.replace(/\$(\d)/g, (_, k) => `v${inputs[Number(k)]}`);
    return `  v${i} = ${filled}  // ${dtype}${showDims(dims)}`;
  });
  return [
    `graph of seed ${program.seed}:`,
    ...lines,
    `  asked for: ${rootLabels(program)
      .map((r) => r.text)
      .join("; ")}`,
  ].join("\n");
}

const stepsOf = (root: ProgramRoot): number[] => {
  switch (root.kind) {
    case "value":
      return [root.step];
    case "gradient":
      return [root.loss, ...root.wrt];
    case "assign":
      return [root.parameter, root.value];
    case "descend":
      return [root.loss, root.parameter];
  }
};

/** Drops what no root needs. */
export function prune({ seed, steps, roots }: Program): Program {
  const needed = new Set<number>();
  const stack = roots.flatMap(stepsOf);
  while (stack.length) {
    const at = stack.pop()!;
    if (needed.has(at)) continue;
    needed.add(at);
    stack.push(...steps[at]!.inputs);
  }
  const kept = [...needed].sort((a, b) => a - b);
  const at = new Map(kept.map((old, i) => [old, i]));
  const move = (i: number): number => at.get(i)!;
  return {
    seed,
    steps: kept.map((i) => ({ ...steps[i]!, inputs: steps[i]!.inputs.map(move) })),
    roots: roots.map((root) => renumber(root, move)),
  };
}

function renumber(root: ProgramRoot, move: (i: number) => number): ProgramRoot {
  switch (root.kind) {
    case "value":
      return { ...root, step: move(root.step) };
    case "gradient":
      return { ...root, loss: move(root.loss), wrt: root.wrt.map(move) };
    case "assign":
      return { ...root, parameter: move(root.parameter), value: move(root.value) };
    case "descend":
      return { ...root, loss: move(root.loss), parameter: move(root.parameter) };
  }
}

/**
 * The smallest program found for which `fails` still holds: all roots but one are dropped, then values are replaced by
 * leaves one after the other.
 */
export async function shrink(
  program: Program,
  fails: (p: Program) => Promise<boolean>,
  most = 150,
): Promise<Program> {
  let best = program;
  let left = most;
  const attempt = async (candidate: Program): Promise<boolean> => {
    if (left-- <= 0) return false;
    const cut = prune(candidate);
    if (!(await fails(cut))) return false;
    best = cut;
    return true;
  };
  const parts = program.roots.flatMap((root): ProgramRoot[] =>
    root.kind === "gradient" ? [...root.wrt.map((i) => ({ ...root, wrt: [i] })), root] : [root],
  );
  for (const root of parts) if (await attempt({ ...program, roots: [root] })) break;
  for (let changed = true; changed && left > 0; ) {
    changed = false;
    for (let i = best.steps.length - 1; i >= 0; i--) {
      const step = best.steps[i];
      if (!step || step.inputs.length === 0) continue;
      // First without this value, where one of its inputs can stand for it; then a leaf in its place.
      const same = step.inputs.find((k) => sameKind(best.steps[k]!, step) && !isParameter(best.steps[k]!));
      if (same !== undefined && (await attempt(bypass(best, i, same)))) {
        changed = true;
        continue;
      }
      const leaf = leafStep(step.dtype, step.dims, i + 1, false);
      const steps = best.steps.map((s, k) => (k === i ? leaf : s));
      if (await attempt({ ...best, steps })) changed = true;
    }
  }
  return best;
}

export const isParameter = (step: Step): boolean => step.text.startsWith("parameter");

const sameKind = (a: Step, b: Step): boolean => a.dtype === b.dtype && sameDims(a.dims, b.dims);

/** The program with every use of one value turned to another. */
function bypass(program: Program, from: number, to: number): Program {
  const move = (i: number): number => (i === from ? to : i);
  return {
    ...program,
    steps: program.steps.map((s) => ({ ...s, inputs: s.inputs.map(move) })),
    roots: program.roots.map((root) => renumber(root, move)),
  };
}
