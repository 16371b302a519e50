import { type KernelGroup, sizeOf, type Value } from "@lowrank/tensor/backend";
import { type EmitContext, type Kernel, operandAt } from "../emit.js";
import { storeFour, storeOne } from "../wgsl/storage.js";
import { lane, seq } from "../wgsl/text.js";
import { emitBackward } from "./attention-backward.js";
import { type AttentionArg, Call, supportsAttention } from "./attention-call.js";
import { emitDecode, isDecode } from "./attention-decode.js";
import { addProduct, declareShare, EDGE, products, shares, tileFor, tileText } from "./attention-tile.js";

/** Queries by workgroups: blocks of keys pass by, and rows keep a running maximum and sum. */
function emitForward(group: KernelGroup, ctx: EmitContext): void {
  const c = new Call("attention", group);
  const { shader, q, k, v, d, dv, T, S, H } = c;
  const [o, lse] = group.outputs as [Value, Value];
  const [batch, t, heads] = q.dims as [number, number, number];
  const tile = tileFor(ctx.traits, c);
  const { high, rows, height } = tile;
  const fours = rows / 4;
  const count = Math.ceil(t / height);
  const blocks = shader.param(count);
  const [qOf, kOf, vOf] = [c.place(q), c.place(k), c.place(v)];
  const seen = c.seen();
  const visible = (r: number): string =>
    `vec4<bool>(${seq(4, (l) => `(j + ${l}u < ${S})${seen(`row${r}`, `min(j + ${l}u, ${S} - 1u)`)}`, ", ")})`;
  // Numbers of rows stand in fours.
  const four = (g: number): string => `ty * ${fours}u + ${g}u`;
  const ofFour = (g: number, text: (r: number) => string): string => seq(4, (l) => text(4 * g + l), ", ");
  const ofRow = (r: number): string => `${r >> 2}.${lane(r & 3)}`;
  const [toO, toLse] = [shader.bind(o, true), shader.bind(lse, true)];
  const text = `${c.queries(blocks, tile)}
${seq(rows, (r) => `  let row${r} = min(i + ${r}u, ${T} - 1u);\n  let q${r} = ${qOf("b", `row${r}`, "h")};`)}
${declareShare(tile, "o", dv)}
${seq(fours, (n) => `  var m${n} = F(-3.0e38);\n  var l${n} = F(0.0);`)}
  let end = ${c.lastKey(`min(block * ${height}u + ${height}u, ${T})`)};
  for (var j0 = 0u; j0 < end; j0 += ${EDGE}u) {
    let j = j0 + tx * 4u;
${seq(4, (r) => `    let k${r} = ${kOf("b", `min(j + ${r}u, ${S} - 1u)`, "hk")};`)}
${products(c, tile, "s", [q, "q"], [k, "k"], d)}
${seq(rows, (r) => `    s${r} = select(F(-3.0e38), s${r} * ${c.scale}, ${visible(r)});`)}
${seq(fours, (g) => `    tops[tx][${four(g)}] = F(${ofFour(g, (r) => `max(max(s${r}.x, s${r}.y), max(s${r}.z, s${r}.w))`)});`)}
    workgroupBarrier();
${seq(
  fours,
  (g) => `    var top${g} = m${g};
${seq(8, (n) => `    top${g} = max(top${g}, tops[${n}][${four(g)}]);`)}
    let shrink${g} = exp_(m${g} - top${g});
    m${g} = top${g};`,
)}
${seq(rows, (r) => `    s${r} = select(F(0.0), exp_(s${r} - F(m${ofRow(r)})), s${r} > F(-1.0e38));`)}
${seq(fours, (g) => `    l${g} = l${g} * shrink${g} + F(${ofFour(g, (r) => `dot(s${r}, F(1.0))`)});`)}
${seq(rows, (r) => `    weights[ty * ${rows}u + ${r}u][tx] = s${r};`)}
${seq(rows, (r) => seq(shares(dv), (n) => `    o${r}_${n} *= shrink${ofRow(r)};`))}
    workgroupBarrier();
${addProduct(c, tile, "o", "weights", v, dv, (n) => vOf("b", `min(j0 + ${n}, ${S} - 1u)`, "hk"))}
  }
  workgroupBarrier();
${seq(fours, (g) => `  tops[tx][${four(g)}] = l${g};`)}
  workgroupBarrier();
${seq(fours, (g) => `  var total${g} = F(0.0);\n${seq(8, (n) => `  total${g} += tops[${n}][${four(g)}];`)}`)}
${seq(
  rows,
  (r) => `  if (i + ${r}u < ${T}) {
    let sum = total${ofRow(r)};
    let scale = select(1.0 / sum, 0.0, sum == 0.0);
    let to = ((b * ${T} + i + ${r}u) * ${H} + h) * ${4 * dv}u;
${seq(
  shares(dv),
  (n) =>
    `    if (tx + ${8 * n}u < ${dv}u) { ${storeFour(o.dtype, toO, `(to + (tx + ${8 * n}u) * 4u)`, `(o${r}_${n} * scale)`)} }`,
)}
    if (tx == 0u) { ${storeOne("f32", toLse, `((b * ${H} + h) * ${T} + i + ${r}u)`, `select(m${ofRow(r)} + log_(F(sum)).x, -inf().x, sum == 0.0)`)} }
  }`,
)}`;
  const shared = `${tileText(tile, "weights")}\nvar<workgroup> tops: array<array<F, ${high * fours}>, 8>;`;
  ctx.dispatch(shader.build(batch * heads * count, tile.threads, text, shared));
}

/** Attention that never writes the scores: an online softmax over tiles of keys (Dao et al. 2022, arXiv:2205.14135). */
export const attentionKernel: Kernel = {
  supports: supportsAttention,
  layout: () => "any",
  emit: (group, ctx) => (isDecode(group) ? emitDecode(group, ctx) : emitForward(group, ctx)),
};

/** Its gradients, with the probabilities made again from the kept lse; every row of a gradient has one owner. */
export const attentionBackwardKernel: Kernel = {
  supports: supportsAttention,
  layout: () => "any",
  emit(group, ctx) {
    const { mask } = group.arg as AttentionArg;
    const [o, lse, dy] = [0, 1, 2].map((i) => operandAt(group, i + (mask ? 5 : 4)));
    const delta = ctx.scratch(4 * sizeOf(lse!.dims));
    emitBackward(group, { o: o!, lse: lse!, dy: dy!, delta }, ctx);
  },
};
