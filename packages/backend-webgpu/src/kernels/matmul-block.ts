import { type KernelGroup, sizeOf } from "@lowrank/tensor/backend";
import type { EmitContext } from "../emit.js";
import { Shader } from "../shader.js";
import { lane, seq } from "../wgsl/text.js";
import { emitJoin, putText, storesDirectly } from "./finish.js";
import { batchText, type Product, type Reader, type Side } from "./product.js";

/**
 * One way to form a product. A thread keeps `rows` × `columns` results in registers and adds to them along k in order, with
 * one rounding a step, so that all ways with the same `lanes` and `split` give the same bits.
 */
export interface Variant {
  /** Blocks of both sides go through workgroup memory, which needs 8 × 8 threads with square shares and one lane. */
  readonly shared: boolean;
  /** Threads along the rows and the columns of the result, and along k. */
  readonly high: number;
  readonly wide: number;
  readonly lanes: number;
  /** Results of a thread; columns in fours. */
  readonly rows: number;
  readonly columns: number;
  /** Parts of k that are formed by themselves and added up by a second dispatch. */
  readonly split: number;
}

/** Elements of one side that lie in workgroup memory: 4 KiB. */
const SHARED = 1024;
const THREADS = 64;
/** Parts of k begin at multiples of it (and of lanes), whatever the depth of a tile. */
const PART_STEP = 32;
/** Depth of a step of a thread. */
const STEP = 4;

/** Emits the product with the rest of its group. */
export function emitProduct(group: KernelGroup, p: Product, v: Variant, ctx: EmitContext): void {
  const { M, N, K, batch } = p;
  const y = group.outputs[0]!;
  const { high, wide, lanes, rows, columns, split } = v;
  const [height, width] = [high * rows, wide * columns];
  const depth = v.shared ? SHARED / height : STEP * lanes;
  const part = Math.ceil(K / split / PART_STEP / lanes) * PART_STEP * lanes;
  const parts = split > 1 || !storesDirectly(y, N) ? ctx.scratch(split * Math.ceil(y.size / 4) * 16) : null;
  const [tilesM, tilesN] = [Math.ceil(M / height), Math.ceil(N / width)];
  const s = new Shader(p.name, 4);
  const [m, n, k, tm, tn] = [M, N, K, tilesM, tilesN].map((x) => s.param(x)) as [
    string,
    string,
    string,
    string,
    string,
  ];
  const put = putText(s, group, N, parts);
  const places = batchText(s, p);
  const block = { edgeM: M % height !== 0, edgeN: N % width !== 0, edgeK: K % depth !== 0, k };
  const [a, b] = [p.a.read(s, "base_a"), p.b.read(s, "base_b")];
  const loads = (side: "a" | "b", count: number, o: (i: number) => string, at: string): string =>
    side === "a"
      ? blockText("a", p.a, a, count, o, at, block.edgeM ? m : null, block.edgeK ? k : null)
      : blockText("b", p.b, b, count, o, at, block.edgeN ? n : null, block.edgeK ? k : null);
  const adds = (at: (side: "a" | "b", i: number) => string): string =>
    seq(rows, (r) =>
      seq(
        columns / 4,
        (c) => `      c${r}_${c} = fma(F(${at("a", r >> 2)}.${lane(r)}), ${at("b", c)}, c${r}_${c});`,
      ),
    );
  const inner = v.shared
    ? sharedStep(p, v, depth, s.param(depth), loads, adds)
    : `${loads("a", rows, (i) => `row + ${i}u`, "k")}
${loads("b", columns, (i) => `column + ${(i >> 2) * 4 * wide + (i % 4)}u`, "k")}
${seq(STEP, (q) => `    {\n${adds((side, i) => `${side}${i}_${q}`)}\n    }`)}`;
  const step = s.param(Math.ceil(y.size / 4) * 4);
  const from = split > 1 ? `piece * ${s.param(part)}` : "0u";
  const text = `  let tile = group % (${tm} * ${tn});
  var matrix = group / (${tm} * ${tn});
${split > 1 ? `  let piece = matrix % ${split}u;\n  matrix = matrix / ${split}u;` : ""}
  let tile_row = (tile / ${tn}) * ${height}u;
  let tile_column = (tile % ${tn}) * ${width}u;
${places}
${placeText(p.b, v)}
  let row = tile_row + ty * ${rows}u;
  let column = tile_column + tx * 4u;
${seq(rows, (r) => seq(columns / 4, (c) => `  var c${r}_${c} = F(0.0);`))}
  let start = ${from};
  let end = ${split > 1 ? `min(start + ${s.param(part)}, ${k})` : k};
  for (var k = start${lanes > 1 ? ` + kl * ${STEP}u` : ""}; k < end; k += ${depth}u) {
${inner}
  }
${lanes > 1 ? joinLanes(v) : ""}
${seq(rows, (r) =>
  seq(columns / 4, (c) => {
    const at = `column + ${c * 4 * wide}u`;
    const base = `(matrix * ${m} + row + ${r}u) * ${n} + ${at}${split > 1 ? ` + piece * ${step}` : ""}`;
    return `  if (${lanes > 1 ? "kl == 0u && " : ""}row + ${r}u < ${m} && ${at} < ${n}) { put(${base}, ${n} - (${at}), c${r}_${c}); }`;
  }),
)}`;
  const shared = v.shared
    ? seq(2, (i) => `var<workgroup> tile_${"ab"[i]}: array<array<F, ${height / 4}>, ${depth}>;`)
    : lanes > 1
      ? `var<workgroup> sums: array<array<F, ${THREADS}>, ${(rows * columns) / 4}>;`
      : "";
  ctx.dispatch(
    s.build(sizeOf(batch) * tilesM * tilesN * split, high * wide * lanes, text, `${shared}\n${put}`),
  );
  if (parts) emitJoin(group, parts, split, ctx);
}

/** Where a thread stands: `tx`, `ty` and `kl`. Neighbours read what lies side by side. */
function placeText(b: Side, { high, wide, lanes }: Variant): string {
  if (lanes === 1) return `  let tx = lid % ${wide}u;\n  let ty = ${high > 1 ? `lid / ${wide}u` : "0u"};`;
  return b.along === "outer"
    ? `  let tx = lid % ${wide}u;\n  let ty = lid / ${wide}u % ${high}u;\n  let kl = lid / ${wide * high}u;`
    : `  let kl = lid % ${lanes}u;\n  let tx = lid / ${lanes}u % ${wide}u;\n  let ty = lid / ${lanes * wide}u;`;
}

/**
 * Statements that read a block of one side, `count` of its outer axis by four of k: afterwards `a0_2` holds, of the first four
 * of the outer axis, what stands at k + 2. Beyond an edge the last are read again; beyond the end of k there are zeros.
 */
function blockText(
  name: "a" | "b",
  { along }: Side,
  reader: Reader,
  count: number,
  outer: (i: number) => string,
  k: string,
  edge: string | null,
  end: string | null,
): string {
  const lines: string[] = [];
  const within = (text: string, last: number): string => (edge ? `min(${text}, ${edge} - ${last}u)` : text);
  const zeroed = (q: number, text: string): string =>
    end ? `select(${text}, F(0.0), ${k} + ${q}u >= ${end})` : text;
  const deep = (q: number): string => (end ? `min(${k} + ${q}u, ${end} - 1u)` : `${k} + ${q}u`);
  for (let g = 0; g * 4 < count; g++) {
    const own = Math.min(4, count - g * 4);
    const each = (text: (i: number) => string): string =>
      `F(${seq(4, (i) => (i < own ? text(i) : "0.0"), ", ")})`;
    const place = `    let ${name}${g}`;
    if (along === "outer") {
      for (let q = 0; q < STEP; q++)
        lines.push(`${place}_${q} = ${zeroed(q, reader.four(within(outer(g * 4), 4), deep(q)))};`);
    } else if (along === "depth") {
      const at = end ? `min(${k}, ${end} - 4u)` : k;
      for (let i = 0; i < own; i++)
        lines.push(
          `    let ${name}r${g * 4 + i} = ${zeroed(0, reader.four(within(outer(g * 4 + i), 1), at))};`,
        );
      for (let q = 0; q < STEP; q++)
        lines.push(`${place}_${q} = ${each((i) => `${name}r${g * 4 + i}.${lane(q)}`)};`);
    } else {
      for (let q = 0; q < STEP; q++) {
        const of = each((i) => reader.one(within(outer(g * 4 + i), 1), deep(q)));
        lines.push(`${place}_${q} = ${zeroed(q, of)};`);
      }
    }
  }
  return lines.join("\n");
}

/** Fills both tiles, a block of 4 × 4 a thread and side, and adds up their product. */
function sharedStep(
  p: Product,
  { rows, columns, high, wide }: Variant,
  depth: number,
  /** The depth where compilers can not see it and unroll. */
  bound: string,
  loads: (side: "a" | "b", count: number, o: (i: number) => string, at: string) => string,
  adds: (at: (side: "a" | "b", i: number) => string) => string,
): string {
  const fill = (name: "a" | "b", { along }: Side, edge: number): string => {
    const [across, down] = [edge / 4, depth / 4];
    const [o, kk] =
      along === "outer" ? [`lid % ${across}u`, `lid / ${across}u`] : [`lid / ${down}u`, `lid % ${down}u`];
    return `    {
    let o = ${o};
    let q = ${kk} * 4u;
    let at = ${name === "a" ? "tile_row" : "tile_column"} + o * 4u;
${loads(name, 4, (i) => `at + ${i}u`, "(k + q)")}
${seq(4, (q) => `    tile_${name}[q + ${q}u][o] = ${name}0_${q};`)}
    }`;
  };
  const share = rows / 4;
  return `${fill("a", p.a, high * rows)}
${fill("b", p.b, wide * columns)}
    workgroupBarrier();
    for (var q = 0u; q < ${bound}; q++) {
${seq(share, (i) => `      let a${i} = tile_a[q][ty * ${share}u + ${i}u];`)}
${seq(columns / 4, (c) => `      let b${c} = tile_b[q][tx + ${c * wide}u];`)}
${adds((side, i) => `${side}${i}`)}
    }
    workgroupBarrier();`;
}

/** Adds up the results of the lanes along k, in pairs. */
function joinLanes({ rows, columns, lanes, high, wide }: Variant): string {
  const each = (text: (name: string, i: number) => string): string =>
    seq(rows, (r) => seq(columns / 4, (c) => text(`c${r}_${c}`, (r * columns) / 4 + c)));
  // Lanes lie side by side or a share of threads apart: `away` tells how far the partner is.
  return `${each((c, i) => `  sums[${i}][kl * ${high * wide}u + ty * ${wide}u + tx] = ${c};`)}
  workgroupBarrier();
  for (var half = ${lanes / 2}u; half > 0u; half >>= 1u) {
    if (kl < half) {
      let at = kl * ${high * wide}u + ty * ${wide}u + tx;
${each((_, i) => `      sums[${i}][at] += sums[${i}][at + half * ${high * wide}u];`)}
    }
    workgroupBarrier();
  }
${each((c, i) => `  ${c} = sums[${i}][ty * ${wide}u + tx];`)}`;
}
