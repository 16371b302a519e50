import { type KernelGroup, type Operand, sizeOf } from "@lowrank/tensor/backend";
import type { EmitContext } from "../emit.js";
import type { Scratch } from "../shader.js";
import { storeFour, storeOne } from "../wgsl/storage.js";
import { seq } from "../wgsl/text.js";
import { Call, statistic } from "./attention-call.js";
import { addProduct, declareShare, EDGE, eachShare, products, tileFor, tileText } from "./attention-tile.js";

export interface Backward {
  readonly o: Operand;
  readonly lse: Operand;
  readonly dy: Operand;
  /** Σ dy · o of each query, [B, H, T]. */
  readonly delta: Scratch;
}

/** Vectors of both results of a thread that its registers still hold. */
const MOST_SHARES = 40;

export function emitBackward(group: KernelGroup, parts: Backward, ctx: EmitContext): void {
  const { d, dv } = new Call("", group);
  emitDelta(group, parts, ctx);
  emitQueries(group, parts, ctx);
  // With a mask, both results at once would need nine buffers.
  const { mask } = group.arg as { mask: boolean };
  if (d + dv <= MOST_SHARES && !(mask && ctx.traits.buffers < 9)) emitKeys([true, true], group, parts, ctx);
  else {
    emitKeys([true, false], group, parts, ctx);
    emitKeys([false, true], group, parts, ctx);
  }
}

function emitDelta(group: KernelGroup, { o, dy, delta }: Backward, ctx: EmitContext): void {
  const c = new Call("attentionBackward, delta", group);
  const { shader, q, dv, T, H } = c;
  const size = sizeOf(q.dims.slice(0, 3));
  const [a, b] = [c.reader(o), c.reader(dy)];
  const text = (): string => `  let i = e % ${T};
  let h = (e / ${T}) % ${H};
  let b = e / ${T} / ${H};
  let u = ${c.place(o)("b", "i", "h")};
  let w = ${c.place(dy)("b", "i", "h")};
  var s = 0.0;
  for (var n = 0u; n < ${shader.param(dv)}; n++) { s += dot(${a("u", "n")}, ${b("w", "n")}); }
  ${storeOne("f32", shader.bind(delta, true), "e", "s")}`;
  ctx.dispatch(shader.each(size, 1, text));
}

/** dq = scale · Σ ds k, with the tiling of the forward pass; ds = p (dy · v - delta). */
function emitQueries(group: KernelGroup, { lse, dy, delta }: Backward, ctx: EmitContext): void {
  const c = new Call("attentionBackward, queries", group);
  const { shader, q, k, v, d, dv, T, S, H } = c;
  const out = group.outputs[0]!;
  const [batch, t, heads] = q.dims as [number, number, number];
  const tile = tileFor(ctx.traits, c);
  const { rows, height } = tile;
  const count = Math.ceil(t / height);
  const blocks = shader.param(count);
  const [qOf, kOf, vOf, dyOf] = [c.place(q), c.place(k), c.place(v), c.place(dy)];
  const [lseOf, deltaOf] = statistics(c, lse, delta);
  const seen = c.seen();
  const to = shader.bind(out, true);
  const text = `${c.queries(blocks, tile)}
${seq(
  rows,
  (r) => `  let row${r} = min(i + ${r}u, ${T} - 1u);
  let q${r} = ${qOf("b", `row${r}`, "h")};
  let g${r} = ${dyOf("b", `row${r}`, "h")};
  let shift${r} = F(shift_of(${lseOf(`row${r}`)}));
  let delta${r} = F(${deltaOf(`row${r}`)});`,
)}
${declareShare(tile, "x", d)}
  let end = ${c.lastKey(`min(block * ${height}u + ${height}u, ${T})`)};
  for (var j0 = 0u; j0 < end; j0 += ${EDGE}u) {
    let j = j0 + tx * 4u;
${seq(4, (r) => `    let key${r} = min(j + ${r}u, ${S} - 1u);\n    let k${r} = ${kOf("b", `key${r}`, "hk")};\n    let v${r} = ${vOf("b", `key${r}`, "hk")};`)}
${products(c, tile, "s", [q, "q"], [k, "k"], d)}
${products(c, tile, "dp", [dy, "g"], [v, "v"], dv)}
    workgroupBarrier();
${seq(rows, (r) => {
  const visible = seq(4, (l) => `(j + ${l}u < ${S})${seen(`row${r}`, `key${l}`)}`, ", ");
  return `    let p${r} = select(F(0.0), exp_(s${r} * ${c.scale} - shift${r}), vec4<bool>(${visible}));
    scores[ty * ${rows}u + ${r}u][tx] = p${r} * (dp${r} - delta${r}) * ${c.scale};`;
})}
    workgroupBarrier();
${addProduct(c, tile, "x", "scores", k, d, (n) => kOf("b", `min(j0 + ${n}, ${S} - 1u)`, "hk"))}
  }
${eachShare(
  tile,
  d,
  (r, n, column) =>
    `if (i + ${r}u < ${T}) { ${storeFour(out.dtype, to, `((((b * ${T} + i + ${r}u) * ${H} + h) * ${4 * d}u) + ${column})`, `x${r}_${n}`)} }`,
)}`;
  ctx.dispatch(shader.build(batch * heads * count, tile.threads, text, tileText(tile, "scores")));
}

function statistics(c: Call, lse: Operand, delta: Scratch) {
  return [
    statistic(c.shader, lse, (n) => n),
    statistic(c.shader, delta, (n) => `(b * ${c.H} + h) * ${c.T} + (${n})`),
  ] as const;
}

/**
 * dk = scale · Σ ds q and dv = Σ p dy, or one of them: rows of the tile are keys, and blocks of the queries of all heads of a
 * group pass by in their order.
 */
function emitKeys(
  [forKeys, forValues]: readonly [boolean, boolean],
  group: KernelGroup,
  { lse, dy, delta }: Backward,
  ctx: EmitContext,
): void {
  const name = forKeys ? (forValues ? "keys and values" : "keys") : "values";
  const c = new Call(`attentionBackward, ${name}`, group);
  const { shader, q, k, v, d, dv, T, S, H, Hk, G } = c;
  const [, dk, dvalues] = group.outputs;
  const [batch, s, heads] = k.dims as [number, number, number];
  const tile = tileFor(ctx.traits, c);
  const { rows, height } = tile;
  const count = Math.ceil(s / height);
  const blocks = shader.param(count);
  const [qOf, kOf, dyOf] = [c.place(q), c.place(k), c.place(dy)];
  const vOf = forKeys ? c.place(v) : null;
  const lseOf = statistic(shader, lse, (n) => n);
  const deltaOf = forKeys ? statistic(shader, delta, (n) => `(b * ${H} + h) * ${T} + (${n})`) : null;
  const seen = c.seen();
  const store = (to: (typeof group.outputs)[number], share: string, width: number): string => {
    const buffer = shader.bind(to, true);
    return eachShare(
      tile,
      width,
      (r, n, column) =>
        `if (j + ${r}u < ${S}) { ${storeFour(to.dtype, buffer, `((((b * ${S} + j + ${r}u) * ${Hk} + hk) * ${4 * width}u) + ${column})`, `${share}${r}_${n}`)} }`,
    );
  };
  const queryPlace = (of: (b: string, t: string, h: string) => string) => (n: string) =>
    of("b", `min(i0 + ${n}, ${T} - 1u)`, "h");
  const text = `  let block = group % ${blocks};
  let hk = (group / ${blocks}) % ${Hk};
  let b = group / ${blocks} / ${Hk};
${tile.place}
  let j = block * ${height}u + ty * ${rows}u;
${seq(
  rows,
  (r) => `  let key${r} = min(j + ${r}u, ${S} - 1u);
  let k${r} = ${kOf("b", `key${r}`, "hk")};
${vOf ? `  let v${r} = ${vOf("b", `key${r}`, "hk")};` : ""}`,
)}
${forKeys ? declareShare(tile, "x", d) : ""}
${forValues ? declareShare(tile, "y", dv) : ""}
  let first = (${c.firstQuery(`(block * ${height}u)`)} / ${EDGE}u) * ${EDGE}u;
  for (var g = 0u; g < ${G}; g++) {
    let h = hk * ${G} + g;
    for (var i0 = first; i0 < ${T}; i0 += ${EDGE}u) {
    let i = i0 + tx * 4u;
${seq(4, (r) => `    let row${r} = min(i + ${r}u, ${T} - 1u);\n    let q${r} = ${qOf("b", `row${r}`, "h")};`)}
    let shift = F(${seq(4, (r) => `shift_of(${lseOf(`row${r}`)})`, ", ")});
${products(c, tile, "s", [k, "k"], [q, "q"], d)}
${seq(rows, (r) => {
  const visible = seq(4, (l) => `(i + ${l}u < ${T}) & (j + ${r}u < ${S})${seen(`row${l}`, `key${r}`)}`, ", ");
  return `    let p${r} = select(F(0.0), exp_(s${r} * ${c.scale} - shift), vec4<bool>(${visible}));`;
})}
${
  forKeys
    ? `${seq(4, (r) => `    let g${r} = ${dyOf("b", `row${r}`, "h")};`)}
    let delta = F(${seq(4, (r) => deltaOf!(`row${r}`), ", ")});
${products(c, tile, "dp", [v, "v"], [dy, "g"], dv)}`
    : ""
}
    workgroupBarrier();
${forValues ? seq(rows, (r) => `    weights[ty * ${rows}u + ${r}u][tx] = p${r};`) : ""}
${forKeys ? seq(rows, (r) => `    scores[ty * ${rows}u + ${r}u][tx] = p${r} * (dp${r} - delta) * ${c.scale};`) : ""}
    workgroupBarrier();
${forValues ? addProduct(c, tile, "y", "weights", dy, dv, queryPlace(dyOf)) : ""}
${forKeys ? addProduct(c, tile, "x", "scores", q, d, queryPlace(qOf)) : ""}
    }
  }
${forKeys ? store(dk!, "x", d) : ""}
${forValues ? store(dvalues!, "y", dv) : ""}`;
  const shared = [forValues ? tileText(tile, "weights") : "", forKeys ? tileText(tile, "scores") : ""].join(
    "\n",
  );
  ctx.dispatch(shader.build(batch * heads * count, tile.threads, text, shared));
}
