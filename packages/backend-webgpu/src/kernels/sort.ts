import { type KernelGroup, sizeOf } from "@lowrank/tensor/backend";
import { type EmitContext, type Kernel, operandAt } from "../emit.js";
import { type Scratch, Shader } from "../shader.js";
import { classOf, wordType } from "../wgsl/registers.js";
import { loadOne } from "../wgsl/storage.js";
import { emitElements } from "./elements.js";

const THREADS = 64;

/**
 * An order of numbers as u32 keys: floats with the sign folded in and NaN above everything, integers offset. Descending
 * keys are turned over, NaN stays last.
 */
function keyText(dtype: Parameters<typeof classOf>[0], x: string, descending: boolean): string {
  switch (classOf(dtype)) {
    case "F":
      return `float_key(${x}, ${descending})`;
    case "I":
      return `${descending ? "~" : ""}(bitcast<u32>(${x}) ^ 0x80000000u)`;
    case "U":
      return `${descending ? "~" : ""}${x}`;
    case "B":
      return `${descending ? "~" : ""}select(0u, 1u, ${x})`;
  }
}

// −0 and 0 are equal, so they get one key.
const FLOAT_KEY = `fn float_key(x: f32, descending: bool) -> u32 {
  let bits = bitcast<u32>(x);
  if ((bits & 0x7fffffffu) > 0x7f800000u) { return 0xffffffffu; }
  if ((bits & 0x7fffffffu) == 0u) { return 0x80000000u; }
  let key = select(bits | 0x80000000u, ~bits, (bits >> 31u) == 1u);
  return select(key, ~key, descending);
}`;

/**
 * Sorts rows as (key, index) pairs by a bitonic network in memory, padded to a power of two. The index breaks ties, so
 * that the order is stable.
 */
function emitSort(group: KernelGroup, descending: boolean, keep: number, ctx: EmitContext): void {
  const x = operandAt(group, 0);
  const [values, indices] = group.outputs as [(typeof group.outputs)[0], (typeof group.outputs)[0]];
  const n = x.dims.at(-1)!;
  const rows = n === 0 ? 0 : sizeOf(x.dims) / n;
  if (rows === 0 || keep === 0) return;
  const width = 2 ** Math.ceil(Math.log2(Math.max(2, n)));
  const pairs = ctx.scratch(8 * rows * width);
  fillKeys(group, pairs, { n, rows, width, descending }, ctx);
  const half = (rows * width) / 2;
  for (let size = 2; size <= width; size *= 2) {
    for (let step = size / 2; step >= 1; step /= 2) {
      // The last merge goes up in every row.
      emitStep(pairs, half, size === width ? 0 : size, step, ctx);
    }
  }
  const pairAt = (s: Shader): string => {
    const [k, w] = [s.param(keep), s.param(width)];
    const name = s.bind(pairs);
    return `  let p = (i / ${k}) * ${w} + i % ${k};
  let index = ${name}[p >> 1u][(p & 1u) * 2u + 1u];`;
  };
  emitElements("sort, indices", indices, ctx, (s) => `${pairAt(s)}\n  return i32(index);`);
  emitElements("sort, values", values, ctx, (s) => {
    const lines = pairAt(s);
    const length = s.param(n);
    return `${lines}\n  return ${loadOne(x.dtype, s.bind(x), `(i / ${s.param(keep)}) * ${length} + index`)};`;
  });
}

interface Rows {
  n: number;
  rows: number;
  width: number;
  descending: boolean;
}

function fillKeys(
  group: KernelGroup,
  pairs: Scratch,
  { n, rows, width, descending }: Rows,
  ctx: EmitContext,
): void {
  const x = operandAt(group, 0);
  const s = new Shader("sort, keys", 1);
  const [length, w] = [s.param(n), s.param(width)];
  const from = s.bind(x);
  const key = (i: string) => keyText(x.dtype, loadOne(x.dtype, from, i), descending);
  const text = (): string => `  var pair = vec4<u32>(0xffffffffu);
  for (var l = 0u; l < 2u; l++) {
    let at = e * 2u + l;
    let i = at % ${w};
    if (i < ${length}) {
      pair[2u * l] = ${key(`(at / ${w}) * ${length} + i`)};
      pair[2u * l + 1u] = i;
    }
  }
  ${s.bind(pairs, true)}[e] = pair;`;
  const declarations = classOf(x.dtype) === "F" ? FLOAT_KEY : "";
  ctx.dispatch(s.each((rows * width) / 2, 1, text, declarations));
}

/** Compares and exchanges pairs at distance `step` in runs of `size` that go up and down in turn. */
function emitStep(pairs: Scratch, half: number, size: number, step: number, ctx: EmitContext): void {
  const s = new Shader("sort, step", 1);
  const [run, distance] = [s.param(size), s.param(step)];
  const name = s.bind(pairs, true);
  const at = (p: string, word: string) => `${name}[${p} >> 1u][(${p} & 1u) * 2u + ${word}]`;
  const text = (): string => `  let low = (e / ${distance}) * ${distance} * 2u + e % ${distance};
  let high = low + ${distance};
  let a = vec2<u32>(${at("low", "0u")}, ${at("low", "1u")});
  let b = vec2<u32>(${at("high", "0u")}, ${at("high", "1u")});
  let later = a.x > b.x || (a.x == b.x && a.y > b.y);
  if (later == ((low & ${run}) == 0u)) {
    ${at("low", "0u")} = b.x;
    ${at("low", "1u")} = b.y;
    ${at("high", "0u")} = a.x;
    ${at("high", "1u")} = a.y;
  }`;
  ctx.dispatch(s.each(half, 1, text));
}

/** (values, indices) along the last axis. */
export const sortKernel: Kernel = {
  emit(group, ctx) {
    const { descending } = group.arg as { descending: boolean };
    const { dims } = operandAt(group, 0);
    emitSort(group, descending, dims.at(-1)!, ctx);
  },
};

/** The first k of (values, indices) along the last axis. */
export const topKKernel: Kernel = {
  emit(group, ctx) {
    const { k, largest } = group.arg as { k: number; largest: boolean };
    emitSort(group, largest, k, ctx);
  },
};

/** Index of the largest or smallest along the last axis, the first of equal ones; a NaN beats every number. */
function extreme(sign: ">" | "<"): Kernel {
  return {
    emit(group, ctx) {
      const [x, y] = [operandAt(group, 0), group.outputs[0]!];
      if (y.size === 0) return;
      const s = new Shader(group.name, 1);
      const n = s.param(x.dims.at(-1)!);
      const from = s.bind(x);
      const kind = classOf(x.dtype);
      const type = wordType(x.dtype);
      const raw = (i: string) => loadOne(x.dtype, from, i);
      const load = (i: string) => (kind === "B" ? `select(0u, 1u, ${raw(i)})` : raw(i));
      const nan = (v: string) =>
        kind === "F" ? `((bitcast<u32>(${v}) & 0x7fffffffu) > 0x7f800000u)` : "false";
      const beats = `fn beats(a: ${type}, i: u32, b: ${type}, j: u32) -> bool {
  let u = ${nan("a")};
  let v = ${nan("b")};
  if (u || v) { return u && (!v || i < j); }
  return a ${sign} b || (a == b && i < j);
}
var<workgroup> best_value: array<${type}, ${THREADS}>;
var<workgroup> best_index: array<u32, ${THREADS}>;`;
      const text = `  let row = group * ${n};
  var index = min(lid, ${n} - 1u);
  var value = ${load("row + index")};
  for (var i = lid + ${THREADS}u; i < ${n}; i += ${THREADS}u) {
    let v = ${load("row + i")};
    if (beats(v, i, value, index)) { value = v; index = i; }
  }
  best_value[lid] = value;
  best_index[lid] = index;
  workgroupBarrier();
  for (var half = ${THREADS / 2}u; half > 0u; half >>= 1u) {
    if (lid < half && beats(best_value[lid + half], best_index[lid + half], best_value[lid], best_index[lid])) {
      best_value[lid] = best_value[lid + half];
      best_index[lid] = best_index[lid + half];
    }
    workgroupBarrier();
  }
  if (lid == 0u) { ${s.bind(y, true)}[group >> 2u][group & 3u] = best_index[0]; }`;
      ctx.dispatch(s.build(y.size, THREADS, text, beats));
    },
  };
}

export const argmaxKernel: Kernel = extreme(">");
export const argminKernel: Kernel = extreme("<");
