import { type Kernel, operandAt } from "../emit.js";
import { Shader } from "../shader.js";
import { wordType } from "../wgsl/registers.js";
import { isWide, loadOne, storeOne } from "../wgsl/storage.js";
import { emitElements } from "./elements.js";

const THREADS = 64;

/** Running sums along the last axis, from either end: each thread sums a part of the row, then adds what lies before it. */
export const cumsumKernel: Kernel = {
  emit(group, ctx) {
    const [x, y] = [operandAt(group, 0), group.outputs[0]!];
    if (y.size === 0) return;
    const { reverse } = group.arg as { reverse: boolean };
    const n = x.dims.at(-1)!;
    const type = wordType(x.dtype);
    const wide = isWide(y.dtype) ? null : ctx.scratch(4 * y.size);
    const s = new Shader("cumsum", 1);
    const [length, part] = [s.param(n), s.param(Math.ceil(n / THREADS))];
    const from = s.bind(x);
    const place = reverse ? `(row + ${length} - 1u - i)` : "(row + i)";
    const text = `  let row = group * ${length};
  let start = lid * ${part};
  let end = min(${length}, start + ${part});
  var sum = ${type}(0);
  for (var i = start; i < end; i++) { sum += ${loadOne(x.dtype, from, place)}; }
  sums[lid] = sum;
  workgroupBarrier();
  var total = ${type}(0);
  for (var t = 0u; t < lid; t++) { total += sums[t]; }
  for (var i = start; i < end; i++) {
    total += ${loadOne(x.dtype, from, place)};
    ${storeOne(type, s.bind(wide ?? y, true), place, "total")}
  }`;
    ctx.dispatch(s.build(y.size / n, THREADS, text, `var<workgroup> sums: array<${type}, ${THREADS}>;`));
    if (!wide) return;
    // Halves are rounded as they are stored; bytes keep their low bits.
    emitElements("cumsum, narrow", y, ctx, (t) => `  return ${loadOne(type, t.bind(wide), "i")};`);
  },
};
