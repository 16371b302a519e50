import { type KernelGroup, type Operand, sizeOf } from "@lowrank/tensor/backend";
import { type EmitContext, type Kernel, operandAt } from "../emit.js";
import { type Scratch, Shader } from "../shader.js";
import { isWide, loadFour, loadOne, storeFour, storeOne } from "../wgsl/storage.js";
import { emitElements } from "./elements.js";

/** Products of matrices over their last two axes, read with any strides, summed in f32. */
export const matmulKernel: Kernel = {
  layout: () => "any",
  widens: () => true,
  emit(group, ctx) {
    const y = group.outputs[0]!;
    if (y.size === 0) return;
    const a = operandAt(group, 0);
    const inner = a.dims[a.dims.length - 1]!;
    if (inner === 0) {
      emitElements("matmul of nothing", y, ctx, () => "  return 0.0;");
      return;
    }
    const wide = isWide(y.dtype) ? null : ctx.scratch(4 * y.size);
    emitTiles(group, wide, ctx);
    if (wide) emitElements("matmul, narrow", y, ctx, (s) => `  return ${loadOne("f32", s.bind(wide), "i")};`);
  },
};

/** Edge of a tile and its depth: (edge / 4)² threads with 4 × 4 results each. */
interface Tiling {
  readonly edge: 32 | 64;
  readonly depth: 16 | 32;
}

/** Larger tiles read less, if there are enough of them. */
const tilingFor = (rows: number, columns: number, batch: number): Tiling =>
  batch * Math.ceil(rows / 64) * Math.ceil(columns / 64) >= 64
    ? { edge: 64, depth: 16 }
    : { edge: 32, depth: 32 };

/** One operand of a tile kernel: `outer` counts rows of A or columns of B. */
interface Side {
  readonly name: "a" | "b";
  readonly x: Operand;
  readonly outerStride: number;
  readonly depthStride: number;
  readonly outer: number;
  readonly depth: number;
  /** Whether vectors in workgroup memory run along k; else along the outer axis. */
  readonly alongDepth: boolean;
  /** Whether vectors can be read whole. */
  readonly vectors: boolean;
}

function side(
  name: "a" | "b",
  x: Operand,
  outerStride: number,
  depthStride: number,
  outer: number,
  depth: number,
): Side {
  const rest = [x.offset, ...x.strides.slice(0, -2)];
  const whole = (along: number, across: number, length: number): boolean =>
    along === 1 && length % 4 === 0 && [across, ...rest].every((s) => s % 4 === 0);
  const byDepth = whole(depthStride, outerStride, depth);
  const byOuter = whole(outerStride, depthStride, outer);
  const alongDepth = byDepth || (!byOuter && depthStride === 1);
  return { name, x, outerStride, depthStride, outer, depth, alongDepth, vectors: byDepth || byOuter };
}

/**
 * C by square tiles: tiles of A and B go through workgroup memory as vectors along whichever axis is contiguous, and the
 * products are formed as dot products, as rows times vectors, or as outer products to suit. No operand is turned in
 * memory.
 */
function emitTiles(group: KernelGroup, wide: Scratch | null, ctx: EmitContext): void {
  const [a, b] = [operandAt(group, 0), operandAt(group, 1)];
  const y = group.outputs[0]!;
  const rank = y.dims.length;
  const [rows, columns] = [y.dims[rank - 2]!, y.dims[rank - 1]!];
  const depth = a.dims[rank - 1]!;
  const batch = y.dims.slice(0, -2);
  const tiling = tilingFor(rows, columns, sizeOf(batch));
  const { edge } = tiling;
  const threads = (edge / 4) ** 2;
  const left = side("a", a, a.strides[rank - 2]!, a.strides[rank - 1]!, rows, depth);
  const given = side("b", b, b.strides[rank - 1]!, b.strides[rank - 2]!, columns, depth);
  // Outer products need vectors of B along its columns.
  const right = left.alongDepth
    ? given
    : { ...given, alongDepth: false, vectors: given.vectors && !given.alongDepth };
  const s = new Shader("matmul", 4);
  const [M, N, K] = [s.param(rows), s.param(columns), s.param(depth)];
  const [tilesM, tilesN] = [Math.ceil(rows / edge), Math.ceil(columns / edge)];
  const [tm, tn] = [s.param(tilesM), s.param(tilesN)];
  const text = `  let tile = group % (${tm} * ${tn});
  let matrix = group / (${tm} * ${tn});
  let start_a = (tile / ${tn}) * ${edge}u;
  let start_b = (tile % ${tn}) * ${edge}u;
${batchText(s, batch, [a, b])}
  let ty = lid / ${edge / 4}u;
  let tx = lid % ${edge / 4}u;
${[0, 1, 2, 3].map((r) => `  var c${r} = vec4<f32>(0.0);`).join("\n")}
  for (var k0 = 0u; k0 < ${K}; k0 += ${tiling.depth}u) {
${fill(s, left, M, K, tiling, threads)}
${fill(s, right, N, K, tiling, threads)}
    workgroupBarrier();
${multiply(left, right, tiling)}
    workgroupBarrier();
  }
  let base = matrix * ${M} * ${N};
  let column = start_b + tx * 4u;
${[0, 1, 2, 3].map((r) => storeRow(s, wide ?? y, r, M, N, columns)).join("\n")}`;
  const shared = [left, right].map(({ name, alongDepth }) => {
    const [outer, inner] = alongDepth ? [edge, tiling.depth] : [tiling.depth, edge];
    return `var<workgroup> tile_${name}: array<array<vec4<f32>, ${inner / 4}>, ${outer}>;`;
  });
  ctx.dispatch(s.build(sizeOf(batch) * tilesM * tilesN, threads, text, shared.join("\n")));
}

/** Statements that fill the tile of one side, zeros outside of the matrix. */
function fill(
  s: Shader,
  of: Side,
  count: string,
  K: string,
  { edge, depth }: Tiling,
  threads: number,
): string {
  const { name, x, alongDepth, vectors } = of;
  const [outerStride, depthStride] = [s.param(of.outerStride), s.param(of.depthStride)];
  const buffer = s.bind(x);
  const place = (o: string, k: string) => `base_${name} + (${o}) * ${outerStride} + (${k}) * ${depthStride}`;
  const inside = (o: string, k: string) => `${o} < ${count} && ${k} < ${K}`;
  const per = (alongDepth ? depth : edge) / 4;
  const lines: string[] = [];
  for (let p = 0; p < (edge * depth) / 4 / threads; p++) {
    const [o, k] = alongDepth
      ? [`start_${name} + at / ${per}u`, `k0 + (at % ${per}u) * 4u`]
      : [`start_${name} + (at % ${per}u) * 4u`, `k0 + at / ${per}u`];
    lines.push(`    {
      let at = lid + ${p * threads}u;
      let o = ${o};
      let k = ${k};
      var v = vec4<f32>(0.0);`);
    if (vectors) {
      lines.push(
        `      if (${inside("o", "k")}) { v = ${loadFour(s.functions, x.dtype, buffer, place("o", "k"))}; }`,
      );
    } else {
      for (let l = 0; l < 4; l++) {
        const [ol, kl] = alongDepth ? ["o", `k + ${l}u`] : [`o + ${l}u`, "k"];
        lines.push(`      if (${inside(ol, kl)}) { v[${l}] = ${loadOne(x.dtype, buffer, place(ol, kl))}; }`);
      }
    }
    lines.push(`      tile_${name}[at / ${per}u][at % ${per}u] = v;`, "    }");
  }
  return lines.join("\n");
}

/** Statements that add the product of two tiles to the results of a thread. */
function multiply(a: Side, b: Side, { depth }: Tiling): string {
  const each = (text: (r: number) => string) => [0, 1, 2, 3].map(text).join("\n");
  if (!a.alongDepth) {
    return `    for (var k = 0u; k < ${depth}u; k++) {
      let u = tile_a[k][ty];
      let v = tile_b[k][tx];
${each((r) => `      c${r} += u.${"xyzw"[r]} * v;`)}
    }`;
  }
  const v = (c: number) => (b.alongDepth ? `tile_b[tx * 4u + ${c}u][k]` : `tile_b[k * 4u + ${c}u][tx]`);
  const row = (r: number): string =>
    b.alongDepth
      ? `vec4<f32>(dot(u${r}, v0), dot(u${r}, v1), dot(u${r}, v2), dot(u${r}, v3))`
      : `u${r}.x * v0 + u${r}.y * v1 + u${r}.z * v2 + u${r}.w * v3`;
  return `    for (var k = 0u; k < ${depth / 4}u; k++) {
${each((c) => `      let v${c} = ${v(c)};`)}
${each((r) => `      let u${r} = tile_a[ty * 4u + ${r}u][k];`)}
${each((r) => `      c${r} += ${row(r)};`)}
    }`;
}

function storeRow(
  s: Shader,
  to: Parameters<Shader["bind"]>[0],
  r: number,
  M: string,
  N: string,
  columns: number,
): string {
  const name = s.bind(to, true);
  const at = `base + row * ${N} + column`;
  const stores =
    columns % 4 === 0
      ? `if (column < ${N}) { ${storeFour(s.functions, "f32", name, at, `c${r}`)} }`
      : [0, 1, 2, 3]
          .map(
            (l) =>
              `if (column + ${l}u < ${N}) { ${storeOne("f32", name, `(${at} + ${l}u)`, `c${r}[${l}]`)} }`,
          )
          .join(" ");
  return `  { let row = start_a + ty * 4u + ${r}u; if (row < ${M}) { ${stores} } }`;
}

/** Where the matrices of batch number `matrix` begin. */
function batchText(s: Shader, batch: readonly number[], operands: readonly Operand[]): string {
  const lines = operands.map((x, i) => `  var base_${"ab"[i]} = ${s.param(x.offset)};`);
  const axes = batch.map((n, d) => ({ n, d })).filter(({ n }) => n > 1);
  if (axes.length > 0) lines.push("  var rest = matrix;");
  for (const { n, d } of axes.reverse()) {
    const size = s.param(n);
    operands.forEach((x, i) => {
      if (x.strides[d] !== 0)
        lines.push(`  base_${"ab"[i]} += (rest % ${size}) * ${s.param(x.strides[d]!)};`);
    });
    lines.push(`  rest = rest / ${size};`);
  }
  return lines.join("\n");
}
