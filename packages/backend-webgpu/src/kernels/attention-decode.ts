import type { KernelGroup, Value } from "@lowrank/tensor/backend";
import type { EmitContext } from "../emit.js";
import { type Scratch, Shader } from "../shader.js";
import { loadFour, loadOne, storeFour, storeOne } from "../wgsl/storage.js";
import { Call } from "./attention-call.js";

const THREADS = 64;
/** Keys of a workgroup, four of each thread. */
const KEYS = 256;
/** Up to so many queries each have workgroups of their own. */
const FEW = 4;

/** Whether keys are split over workgroups rather than queries. */
export const isDecode = (group: KernelGroup): boolean => new Call("", group).q.dims[1]! <= FEW;

/** Attention of few queries: each workgroup sees one query and a stretch of keys, and a second dispatch joins the stretches. */
export function emitDecode(group: KernelGroup, ctx: EmitContext): void {
  const c = new Call("attention, few queries", group);
  const { shader, q, k, v, d, dv, T, S, H, G } = c;
  const [o, lse] = group.outputs as [Value, Value];
  const [batch, t, heads] = q.dims as [number, number, number];
  const stretches = Math.ceil(k.dims[1]! / KEYS);
  const rows = batch * t * heads;
  // Of each stretch: its results undivided, then its maximum and sum.
  const parts: Scratch = ctx.scratch(rows * stretches * (4 * dv + 4) * 4);
  // Bounds that compilers do not know keep them from unrolling.
  const [P, width, each] = [stretches, d, KEYS / THREADS].map((n) => shader.param(n)) as [
    string,
    string,
    string,
  ];
  const [qOf, kOf, vOf] = [c.place(q), c.place(k), c.place(v)];
  const [query, key, value] = [c.reader(q), c.reader(k), c.reader(v)];
  const seen = c.seen();
  // Threads along the vectors of a value, the others along keys.
  const wide = Math.min(THREADS, 2 ** Math.ceil(Math.log2(dv)));
  const deep = THREADS / wide;
  const to = shader.bind(parts, true);
  const reduce = (join: string): string => `    joined[lid] = own;
    workgroupBarrier();
    for (var half = ${THREADS / 2}u; half > 0u; half >>= 1u) {
      if (lid < half) { joined[lid] = ${join}; }
      workgroupBarrier();
    }`;
  const text = `  let stretch = group % ${P};
  let row = group / ${P};
  let h = row % ${H};
  let i = (row / ${H}) % ${T};
  let b = row / ${H} / ${T};
  let hk = h / ${G};
  let first = stretch * ${KEYS}u;
  let q0 = ${qOf("b", "i", "h")};
  var own = -3.0e38;
  for (var n = 0u; n < ${each}; n++) {
    let j = first + n * ${THREADS}u + lid;
    let at = ${kOf("b", `min(j, ${S} - 1u)`, "hk")};
    var s = 0.0;
    for (var c = 0u; c < ${width}; c++) { s += dot(${query("q0", "c")}, ${key("at", "c")}); }
    s = select(-3.0e38, s * ${c.scale}, (j < ${S})${seen("i", `min(j, ${S} - 1u)`)});
    weights[n * ${THREADS}u + lid] = s;
    own = max(own, s);
  }
${reduce("max(joined[lid], joined[lid + half])")}
  let top = joined[0];
  workgroupBarrier();
  own = 0.0;
  for (var n = 0u; n < ${each}; n++) {
    let s = weights[n * ${THREADS}u + lid];
    let p = select(0.0, exp_(F(s - top)).x, s > -1.0e38);
    weights[n * ${THREADS}u + lid] = p;
    own += p;
  }
${reduce("joined[lid] + joined[lid + half]")}
  let total = joined[0];
  let column = lid % ${wide}u;
  var sum = F(0.0);
  if (column < ${dv}u) {
    for (var n = lid / ${wide}u; n < ${KEYS}u && first + n < ${S}; n += ${deep}u) {
      let at = ${vOf("b", "first + n", "hk")};
      sum += weights[n] * ${value("at", "column")};
    }
  }
${
  deep > 1
    ? `  sums[lid] = sum;
  workgroupBarrier();
  for (var half = ${THREADS / 2}u; half >= ${wide}u; half >>= 1u) {
    if (lid < half) { sums[lid] += sums[lid + half]; }
    workgroupBarrier();
  }
  sum = sums[column];`
    : ""
}
  let place = group * ${4 * dv + 4}u;
  if (lid < ${dv}u) { ${storeFour("f32", to, `(place + lid * 4u)`, "sum")} }
  if (lid == 0u) { ${storeFour("f32", to, `(place + ${4 * dv}u)`, "F(top, total, 0.0, 0.0)")} }`;
  const shared = `var<workgroup> weights: array<f32, ${KEYS}>;
var<workgroup> joined: array<f32, ${THREADS}>;
${deep > 1 ? `var<workgroup> sums: array<F, ${THREADS}>;` : ""}`;
  ctx.dispatch(shader.build(rows * stretches, THREADS, text, shared));
  emitMerge(parts, stretches, o, lse, ctx);
}

/** Joins the stretches of each query in their order. */
function emitMerge(parts: Scratch, stretches: number, o: Value, lse: Value, ctx: EmitContext): void {
  const [, t, heads, width] = o.dims as [number, number, number, number];
  const dv = width / 4;
  const s = new Shader("attention, few queries, joined", 4);
  const [P, T, H] = [stretches, t, heads].map((x) => s.param(x));
  const from = s.bind(parts);
  const four = (at: string): string => loadFour("f32", from, at);
  const text = (): string => `  let row = e / ${dv}u;
  let column = e % ${dv}u;
  let first = row * ${P} * ${width + 4}u;
  var top = -3.0e38;
  for (var p = 0u; p < ${P}; p++) { top = max(top, ${loadOne("f32", from, `first + p * ${width + 4}u + ${width}u`)}); }
  var sum = F(0.0);
  var total = 0.0;
  for (var p = 0u; p < ${P}; p++) {
    let at = first + p * ${width + 4}u;
    let part = ${four(`at + ${width}u`)};
    let weight = exp_(F(part.x - top)).x;
    sum += weight * ${four("at + column * 4u")};
    total += weight * part.y;
  }
  let scale = select(1.0 / total, 0.0, total == 0.0);
  ${storeFour(o.dtype, s.bind(o, true), "e * 4u", "(sum * scale)")}
  if (column == 0u) {
    let h = row % ${H};
    let i = (row / ${H}) % ${T};
    let b = row / ${H} / ${T};
    ${storeOne("f32", s.bind(lse, true), `((b * ${H} + h) * ${T} + i)`, "select(top + log_(F(total)).x, -inf().x, total == 0.0)")}
  }`;
  ctx.dispatch(s.each(o.size / 4, 1, text));
}
