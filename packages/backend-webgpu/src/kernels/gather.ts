import { sizeOf, type Value } from "@lowrank/tensor/backend";
import { type EmitContext, type Kernel, operandAt } from "../emit.js";
import { type Scratch, Shader } from "../shader.js";
import { classOf, scalarType } from "../wgsl/registers.js";
import { loadOne } from "../wgsl/storage.js";
import { emitElements, ZERO } from "./elements.js";

/** y[a, i, b] = x[a, indices[i] - first, b]; `first` is where a segment of a table begins. */
export const takeKernel: Kernel = {
  emit(group, ctx) {
    const [x, indices, y] = [operandAt(group, 0), operandAt(group, 1), group.outputs[0]!];
    const { axis, first = 0 } = group.arg as { axis: number; first?: number };
    const zero = ZERO[classOf(x.dtype)];
    emitElements("take", y, ctx, (s) => {
      const [n, count] = [s.param(x.dims[axis]!), s.param(sizeOf(indices.dims))];
      const inner = s.param(sizeOf(x.dims.slice(axis + 1)));
      const [from, at] = [s.bind(x), s.bind(indices)];
      return `  let b = i % ${inner};
  let q = i / ${inner};
  let j = ${loadOne("i32", at, `q % ${count}`)} - bitcast<i32>(${s.param(first)});
  if (j < 0 || u32(j) >= ${n}) { return ${zero}; }
  return ${loadOne(x.dtype, from, `((q / ${count}) * ${n} + u32(j)) * ${inner} + b`)};`;
    });
  },
};

/** y[a, i, b] = x[a, indices[a, i, b], b]. */
export const takeAlongAxisKernel: Kernel = {
  emit(group, ctx) {
    const [x, indices, y] = [operandAt(group, 0), operandAt(group, 1), group.outputs[0]!];
    const { axis } = group.arg as { axis: number };
    const zero = ZERO[classOf(x.dtype)];
    emitElements("takeAlongAxis", y, ctx, (s) => {
      const [n, m] = [s.param(x.dims[axis]!), s.param(y.dims[axis]!)];
      const inner = s.param(sizeOf(x.dims.slice(axis + 1)));
      const [from, at] = [s.bind(x), s.bind(indices)];
      return `  let j = ${loadOne("i32", at, "i")};
  if (j < 0 || u32(j) >= ${n}) { return ${zero}; }
  let a = i / ${inner} / ${m};
  return ${loadOne(x.dtype, from, `(a * ${n} + u32(j)) * ${inner} + i % ${inner}`)};`;
    });
  },
};

/**
 * y[a, j, b] = Σ over i with indices[i] - first = j of updates[a, i, b], in the order of i and without atomics: first each place
 * of the result finds its first update and each update the next one to the same place, then every element of the result
 * walks its chain.
 */
export const scatterAddKernel: Kernel = {
  emit(group, ctx) {
    const [indices, updates, y] = [operandAt(group, 0), operandAt(group, 1), group.outputs[0]!];
    const { axis, size, first: start = 0 } = group.arg as { axis: number; size: number; first?: number };
    const count = sizeOf(indices.dims);
    const inner = sizeOf(y.dims.slice(axis + 1));
    const first = ctx.scratch(4 * size);
    const next = ctx.scratch(4 * Math.max(1, count));
    fill(first, size, ctx);
    if (count > 0) chain(indices.value, start, first, next, count, size, ctx);
    const type = scalarType(y.dtype);
    emitElements("scatterAdd", y, ctx, (s) => {
      const [n, m, width] = [s.param(size), s.param(count), s.param(inner)];
      const [from, head, link] = [s.bind(updates), s.bind(first), s.bind(next)];
      return `  let b = i % ${width};
  let q = i / ${width};
  let a = q / ${n};
  var sum = ${type}(0);
  for (var at = ${loadOne("u32", head, `q % ${n}`)}; at < ${m}; at = ${loadOne("u32", link, "at")}) {
    sum += ${loadOne(updates.dtype, from, `(a * ${m} + at) * ${width} + b`)};
  }
  return sum;`;
    });
  },
};

const NONE = 0xffffffff;

function fill(scratch: Scratch, size: number, ctx: EmitContext): void {
  const s = new Shader("scatterAdd, heads", 1);
  const text = `  ${s.bind(scratch, true)}[e] = vec4<u32>(${NONE}u);`;
  ctx.dispatch(s.each(Math.ceil(size / 4), 1, () => text));
}

function chain(
  indices: Value,
  start: number,
  first: Scratch,
  next: Scratch,
  count: number,
  size: number,
  ctx: EmitContext,
): void {
  const s = new Shader("scatterAdd, chains", 1);
  const n = s.param(size);
  const [from, head, link] = [s.bind(indices), s.bind(first, true), s.bind(next, true)];
  const at = (i: string) => loadOne("u32", from, i);
  const text = (m: string): string => `  let index = ${at("e")};
  let j = index - ${s.param(start)};
  var later = e + 1u;
  while (later < ${m} && ${at("later")} != index) { later++; }
  ${link}[e >> 2u][e & 3u] = select(${NONE}u, later, later < ${m});
  if (j >= ${n}) { return; }
  var earlier = e;
  while (earlier > 0u && ${at("earlier - 1u")} != index) { earlier--; }
  if (earlier == 0u) { ${head}[j >> 2u][j & 3u] = e; }`;
  ctx.dispatch(s.each(count, 1, text));
}

/** y[a, j, b] = Σ over i with indices[a, i, b] = j of updates[a, i, b], in the order of i. */
export const scatterAddAlongAxisKernel: Kernel = {
  emit(group, ctx) {
    const [indices, updates, y] = [operandAt(group, 0), operandAt(group, 1), group.outputs[0]!];
    const { axis } = group.arg as { axis: number };
    const type = scalarType(y.dtype);
    emitElements("scatterAddAlongAxis", y, ctx, (s) => {
      const [n, m] = [s.param(y.dims[axis]!), s.param(indices.dims[axis]!)];
      const inner = s.param(sizeOf(y.dims.slice(axis + 1)));
      const [at, from] = [s.bind(indices), s.bind(updates)];
      return `  let q = i / ${inner};
  let j = i32(q % ${n});
  let start = (q / ${n}) * ${m} * ${inner} + i % ${inner};
  var sum = ${type}(0);
  for (var k = 0u; k < ${m}; k++) {
    let p = start + k * ${inner};
    if (${loadOne("i32", at, "p")} == j) { sum += ${loadOne(updates.dtype, from, "p")}; }
  }
  return sum;`;
    });
  },
};
