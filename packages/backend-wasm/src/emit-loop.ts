import { bug, type DType, isFloat, type LoopGroup } from "@lowrank/tensor/backend";
import { type ArgWord, chunksOf, DTYPE_IDS, type EmitContext } from "./emit.js";

const BASIC_LOOP = 33;
const OPS: Record<string, number> = {
  add: 0, sub: 1, mul: 2, div: 3, maximum: 4, minimum: 5, neg: 6, sqrt: 7, remainder: 8, pow: 9, atan2: 10, exp: 11, expm1: 12, log: 13,
  log1p: 14, sigmoid: 15, sin: 16, cos: 17, tan: 18, asin: 19, acos: 20, atan: 21, sinh: 22, abs: 23, rsqrt: 24, reciprocal: 25, cosh: 26,
  tanh: 27, erf: 28, erfinv: 29, floor: 33, ceil: 34, trunc: 35, round: 36, sign: 37, and: 40, or: 41, xor: 42, shiftLeft: 43, shiftRight: 44,
  threefry: 45, not: 46, where: 50, eq: 51, ne: 52, lt: 53, le: 54, gt: 55, ge: 56, cast: 60,
};
/** What follows an instruction so that its result is one of its dtype: wrapping or rounding. */
const AFTER: Partial<Record<DType, number>> = { i8: 70, u8: 71, f16: 72, bf16: 73 };
const CLAMP: Partial<Record<DType, number>> = { i8: 74, u8: 75 };
const classOf = (t: DType): number => (t === "f64" ? 3 : t === "u32" ? 2 : t === "f32" || t === "f16" || t === "bf16" ? 0 : 1);

export function emitLoop(group: LoopGroup, ctx: EmitContext): void {
  const { space, reduced, loads, code, stores, reductions } = group;
  const first = reduced.indexOf(true);
  const last = reduced.lastIndexOf(true);
  const size = (from: number, to: number) => space.slice(from, to).reduce((a, b) => a * b, 1);
  const [mode, K1, R, K2] = !reductions.length
    ? [0, 1, 1, size(0, space.length)]
    : first < 0
      ? [1, size(0, space.length), 1, 1]
      : last === space.length - 1
        ? [1, size(0, first), size(first, space.length), 1]
        : [2, size(0, first), size(first, last + 1), size(last + 1, space.length)];
  const dims = space.length ? [...space] : [1];
  let extra = 0;
  const program: number[][] = [];
  for (const [j, c] of code.entries()) {
    let op = OPS[c.op.name] ?? bug(`loop op ${c.op.name}`);
    if (c.op.name === "cast" && c.dtype === "bool") op = 61;
    if (c.op.name === "not" && c.dtype === "bool") op = 47;
    const src = c.op.name === "where" ? c.sourceDtypes[1]! : c.sourceDtypes[0]!;
    const s = c.sources;
    if (c.op.name === "threefry") {
      // the fourth word sits in the slot behind the third: copy both there
      const at = loads.length + code.length + 8 + 2 * extra++;
      program.push([60, 2, 2, at, s[2]!, s[2]!, s[2]!], [60, 2, 2, at + 1, s[3]!, s[3]!, s[3]!]);
      program.push([45, 2, 2, loads.length + j, s[0]!, s[1]!, at]);
    } else program.push([op, classOf(c.dtype), classOf(src), loads.length + j, s[0]!, s[1] ?? s[0]!, s[2] ?? s[0]!]);
    const r = loads.length + j;
    const after = c.op.name === "cast" && isFloat(src) ? (CLAMP[c.dtype] ?? AFTER[c.dtype]) : AFTER[c.dtype];
    if (after) program.push([after, 1, 1, r, r, r, r]);
  }
  const table = (rows: ArgWord[][]) => ctx.data(rows.length ? rows.flat() : [0]);
  const strides = (s: readonly number[]) => ctx.data(s.length ? [...s] : [0]);
  const loadRows = loads.map((l): ArgWord[] => {
    if (l.kind === "scalar") return [1, DTYPE_IDS[l.dtype], classOf(l.dtype), ctx.scalar(l.slot), 0, 0];
    if (l.kind === "iota") return [2, DTYPE_IDS[l.dtype], classOf(l.dtype), 0, l.offset, strides(l.strides)];
    return [0, DTYPE_IDS[l.value.dtype], classOf(l.value.dtype), ctx.pointer(l.value), l.offset, strides(l.strides)];
  });
  const storeRows = stores.map((s): ArgWord[] => [s.register, classOf(s.value.dtype), DTYPE_IDS[s.value.dtype], ctx.pointer(s.value)]);
  const redRows = reductions.map((r): ArgWord[] => [["sum", "prod", "max", "min"].indexOf(r.op), r.register, classOf(registerDtype(group, r.register)), DTYPE_IDS[r.value.dtype], ctx.pointer(r.value)]);
  ctx.scratch((loads.length + code.length + 16 + 2 * extra + reductions.length) * 4096);
  const work = size(0, space.length) * (code.length + 1);
  ctx.command(BASIC_LOOP, [mode!, K1!, R!, K2!, dims.length, ctx.data(dims), loads.length, table(loadRows), program.length, table(program), stores.length, table(storeRows), reductions.length, table(redRows), loads.length + code.length + 10 + 2 * extra], chunksOf(work, 30000));
}

function registerDtype(group: LoopGroup, r: number): DType {
  if (r >= group.loads.length) return group.code[r - group.loads.length]!.dtype;
  const l = group.loads[r]!;
  return l.kind === "value" ? l.value.dtype : l.dtype;
}
