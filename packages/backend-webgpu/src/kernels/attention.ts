import { type KernelGroup, type Operand, type Site, sizeOf, type Value } from "@lowrank/tensor/backend";
import { type EmitContext, type Kernel, operandAt, scalarAt } from "../emit.js";
import { type Scratch, Shader } from "../shader.js";
import { loadFour, loadOne, storeFour, storeOne } from "../wgsl/storage.js";
import { isGpuFloat } from "./rows.js";

/** Rows of queries (or keys) of a workgroup, one a thread. */
const ROWS = 64;
/** Keys (or queries) that lie in workgroup memory at a time: 16 KiB for two tiles of heads 128 wide. */
const TILE = 16;
const WIDEST = 128;

interface AttentionArg {
  readonly scale: number;
  readonly causal: boolean;
  readonly mask: boolean;
}

const supports = ({ inputs }: Site): boolean => {
  const [q, , v] = inputs;
  const fits = (n: number) => n > 0 && n % 4 === 0 && n <= WIDEST;
  return (
    isGpuFloat(q!.dtype) && fits(q!.dims[3]!) && fits(v!.dims[3]!) && inputs.every((i) => sizeOf(i.dims) > 0)
  );
};

/** The operands of one call with what every kernel of it needs: sizes, and where rows begin. */
class Call {
  readonly shader: Shader;
  readonly q: Operand;
  readonly k: Operand;
  readonly v: Operand;
  readonly d: number;
  readonly dv: number;
  readonly T: string;
  readonly S: string;
  readonly H: string;
  readonly Hk: string;
  readonly G: string;
  readonly scale: string;
  private readonly arg: AttentionArg;
  private readonly offset: string;

  constructor(
    name: string,
    private readonly group: KernelGroup,
  ) {
    const shader = (this.shader = new Shader(name, 4));
    this.arg = group.arg as AttentionArg;
    [this.q, this.k, this.v] = [0, 1, 2].map((i) => operandAt(group, i)) as [Operand, Operand, Operand];
    const [, t, h, d] = this.q.dims as [number, number, number, number];
    const [, s, hk] = this.k.dims as [number, number, number, number];
    this.d = d / 4;
    this.dv = this.v.dims[3]! / 4;
    [this.T, this.S, this.H, this.Hk, this.G] = [t, s, h, hk, h / hk].map((n) => shader.param(n)) as [
      string,
      string,
      string,
      string,
      string,
    ];
    this.scale = shader.float(this.arg.scale);
    this.offset = shader.scalar(scalarAt(group, 3).slot, "i32");
    shader.functions.math.add("exp_one");
  }

  /** The place of row (b, time, head) of an operand, by variables of these names. */
  row(x: Operand, b: string, time: string, head: string): string {
    const { shader } = this;
    const [sb, st, sh] = x.strides.map((n) => shader.param(n));
    return `(${shader.param(x.offset)} + ${b} * ${sb} + (${time}) * ${st} + (${head}) * ${sh})`;
  }

  /** Four numbers of a row from `index`, by the variable that holds the row's place. */
  four(x: Operand, row: string, index: string): string {
    const name = this.shader.bind(x);
    const aligned = x.strides[3] === 1 && [x.offset, ...x.strides.slice(0, 3)].every((n) => n % 4 === 0);
    if (aligned) return loadFour(this.shader.functions, x.dtype, name, `${row} + (${index}) * 4u`);
    const step = this.shader.param(x.strides[3]!);
    const lane = (l: number) => loadOne(x.dtype, name, `${row} + ((${index}) * 4u + ${l}u) * ${step}`);
    return `vec4<f32>(${[0, 1, 2, 3].map(lane).join(", ")})`;
  }

  /** Whether query `i` sees key `j`, by variables. */
  seen(b: string, head: string, i: string, j: string): string {
    const parts = [`${j} < ${this.S}`];
    if (this.arg.causal) parts.push(`i32(${j}) <= i32(${i}) + ${this.offset}`);
    if (this.arg.mask) {
      const mask = operandAt(this.group, 4);
      const { shader } = this;
      const [sb, sh, st, ss] = mask.strides.map((n) => shader.param(n));
      const at = `${shader.param(mask.offset)} + ${b} * ${sb} + ${head} * ${sh} + ${i} * ${st} + ${j} * ${ss}`;
      parts.push(loadOne("bool", shader.bind(mask), at));
    }
    return parts.join(" && ");
  }

  /** The first key that no query before `i` sees, at most S. */
  lastKey(i: string): string {
    return this.arg.causal ? `u32(clamp(i32(${i}) + ${this.offset}, 0, i32(${this.S})))` : this.S;
  }

  /** The first query that sees key `j`. */
  firstQuery(j: string): string {
    return this.arg.causal ? `u32(max(i32(${j}) - ${this.offset}, 0))` : "0u";
  }

  /** Fills a tile of workgroup memory with `TILE` rows of `width` vectors from row `first` on, zeros behind `count`. */
  fill(
    tile: string,
    x: Operand,
    width: number,
    first: string,
    count: string,
    place: (row: string) => string,
  ): string {
    return `    for (var p = lid; p < ${TILE * width}u; p += ${ROWS}u) {
      let r = p / ${width}u;
      var v = vec4<f32>(0.0);
      if (${first} + r < ${count}) {
        let at = ${place(`${first} + r`)};
        v = ${this.four(x, "at", `p % ${width}u`)};
      }
      ${tile}[p] = v;
    }`;
  }
}

const list = (n: number, text: (i: number) => string, join = "\n"): string =>
  Array.from({ length: n }, (_, i) => text(i)).join(join);
const dot = (n: number, a: (i: number) => string, b: (i: number) => string): string =>
  list(n, (i) => `dot(${a(i)}, ${b(i)})`, " + ");
const tile = (name: string, width: number): string =>
  `var<workgroup> ${name}: array<vec4<f32>, ${TILE * width}>;`;

/** Queries by workgroups: one thread keeps its query and its result in registers, keys and values come by tiles. */
function emitForward(group: KernelGroup, ctx: EmitContext): void {
  const c = new Call("attention", group);
  const { shader, q, k, v, d, dv, T, H, G } = c;
  const [o, lse] = group.outputs as [Value, Value];
  const [batch, t, heads] = q.dims as [number, number, number];
  const blocks = shader.param(Math.ceil(t / ROWS));
  const text = `  let block = group % ${blocks};
  let h = (group / ${blocks}) % ${H};
  let b = group / ${blocks} / ${H};
  let hk = h / ${G};
  let i = block * ${ROWS}u + lid;
  let row = min(i, ${T} - 1u);
  let origin = ${c.row(q, "b", "row", "h")};
${list(d, (n) => `  let q${n} = ${c.four(q, "origin", `${n}u`)} * ${c.scale};`)}
${list(dv, (n) => `  var o${n} = vec4<f32>(0.0);`)}
  var m = -3.0e38;
  var l = 0.0;
  let end = ${c.lastKey(`min(block * ${ROWS}u + ${ROWS}u, ${T})`)};
  for (var j0 = 0u; j0 < end; j0 += ${TILE}u) {
${c.fill("keys", k, d, "j0", c.S, (r) => c.row(k, "b", r, "hk"))}
${c.fill("values", v, dv, "j0", c.S, (r) => c.row(v, "b", r, "hk"))}
    workgroupBarrier();
    for (var r = 0u; r < ${TILE}u; r++) {
      let j = j0 + r;
      if (${c.seen("b", "h", "row", "j")}) {
        let s = ${dot(
          d,
          (n) => `q${n}`,
          (n) => `keys[r * ${d}u + ${n}u]`,
        )};
        if (s > m) {
          let shrink = exp_one(m - s);
          m = s;
          l *= shrink;
${list(dv, (n) => `          o${n} *= shrink;`)}
        }
        let p = exp_one(s - m);
        l += p;
${list(dv, (n) => `        o${n} += p * values[r * ${dv}u + ${n}u];`)}
      }
    }
    workgroupBarrier();
  }
  if (i < ${T}) {
    let scale = select(1.0 / l, 0.0, l == 0.0);
    let to = ((b * ${T} + i) * ${H} + h) * ${4 * dv}u;
${list(dv, (n) => `    ${storeFour(shader.functions, o.dtype, shader.bind(o, true), `to + ${4 * n}u`, `(o${n} * scale)`)}`)}
    ${storeOne("f32", shader.bind(lse, true), `((b * ${H} + h) * ${T} + i)`, "select(m + log_(vec4<f32>(l)).x, -inf().x, l == 0.0)")}
  }`;
  shader.functions.math.add("log_").add("inf");
  const declarations = [tile("keys", d), tile("values", dv)].join("\n");
  ctx.dispatch(shader.build(batch * heads * Math.ceil(t / ROWS), ROWS, text, declarations));
}

interface Backward {
  readonly o: Operand;
  readonly lse: Operand;
  readonly dy: Operand;
  /** Σ do · o of each query, [B, H, T]. */
  readonly delta: Scratch;
}

function emitDelta(group: KernelGroup, { o, dy, delta }: Backward, ctx: EmitContext): void {
  const c = new Call("attentionBackward, delta", group);
  const { shader, q, dv, T, H } = c;
  const size = sizeOf(q.dims.slice(0, 3));
  const n = shader.param(size);
  const text = `  let e = group * ${ROWS}u + lid;
  if (e >= ${n}) { return; }
  let i = e % ${T};
  let h = (e / ${T}) % ${H};
  let b = e / ${T} / ${H};
  let u = ${c.row(o, "b", "i", "h")};
  let w = ${c.row(dy, "b", "i", "h")};
  var s = 0.0;
  for (var n = 0u; n < ${dv}u; n++) { s += dot(${c.four(o, "u", "n")}, ${c.four(dy, "w", "n")}); }
  ${storeOne("f32", shader.bind(delta, true), "e", "s")}`;
  ctx.dispatch(shader.build(Math.ceil(size / ROWS), ROWS, text));
}

const number = (shader: Shader, of: Operand | Scratch, index: string): string =>
  loadOne("f32", shader.bind(of), index);

/** The place of query `i` of (b, h) in numbers [B, H, T]. */
function statistic(shader: Shader, x: Operand, i: string): string {
  const [sb, sh, st] = x.strides.map((n) => shader.param(n));
  return `${shader.param(x.offset)} + b * ${sb} + h * ${sh} + ${i} * ${st}`;
}

/** dq = scale · Σ ds k, with the tiling of the forward pass. */
function emitQueries(group: KernelGroup, { lse, dy, delta }: Backward, ctx: EmitContext): void {
  const c = new Call("attentionBackward, queries", group);
  const { shader, q, k, v, d, dv, T, H, G } = c;
  const out = group.outputs[0]!;
  const [batch, t, heads] = q.dims as [number, number, number];
  const blocks = shader.param(Math.ceil(t / ROWS));
  const text = `  let block = group % ${blocks};
  let h = (group / ${blocks}) % ${H};
  let b = group / ${blocks} / ${H};
  let hk = h / ${G};
  let i = block * ${ROWS}u + lid;
  let row = min(i, ${T} - 1u);
  let origin = ${c.row(q, "b", "row", "h")};
  let with_dy = ${c.row(dy, "b", "row", "h")};
${list(d, (n) => `  let q${n} = ${c.four(q, "origin", `${n}u`)} * ${c.scale};`)}
${list(dv, (n) => `  let g${n} = ${c.four(dy, "with_dy", `${n}u`)};`)}
${list(d, (n) => `  var x${n} = vec4<f32>(0.0);`)}
  let at = (b * ${H} + h) * ${T} + row;
  let sum = ${number(shader, lse, statistic(shader, lse, "row"))};
  let lse = select(sum, 0.0, bitcast<u32>(sum) == 0xff800000u);
  let delta = ${number(shader, delta, "at")};
  let end = ${c.lastKey(`min(block * ${ROWS}u + ${ROWS}u, ${T})`)};
  for (var j0 = 0u; j0 < end; j0 += ${TILE}u) {
${c.fill("keys", k, d, "j0", c.S, (r) => c.row(k, "b", r, "hk"))}
${c.fill("values", v, dv, "j0", c.S, (r) => c.row(v, "b", r, "hk"))}
    workgroupBarrier();
    for (var r = 0u; r < ${TILE}u; r++) {
      let j = j0 + r;
      if (${c.seen("b", "h", "row", "j")}) {
        let s = ${dot(
          d,
          (n) => `q${n}`,
          (n) => `keys[r * ${d}u + ${n}u]`,
        )};
        let p = exp_one(s - lse);
        let dp = ${dot(
          dv,
          (n) => `g${n}`,
          (n) => `values[r * ${dv}u + ${n}u]`,
        )};
        let ds = p * (dp - delta) * ${c.scale};
${list(d, (n) => `        x${n} += ds * keys[r * ${d}u + ${n}u];`)}
      }
    }
    workgroupBarrier();
  }
  if (i < ${T}) {
    let to = ((b * ${T} + i) * ${H} + h) * ${4 * d}u;
${list(d, (n) => `    ${storeFour(shader.functions, out.dtype, shader.bind(out, true), `to + ${4 * n}u`, `x${n}`)}`)}
  }`;
  const declarations = [tile("keys", d), tile("values", dv)].join("\n");
  ctx.dispatch(shader.build(batch * heads * Math.ceil(t / ROWS), ROWS, text, declarations));
}

/**
 * dk = scale · Σ ds q or dv = Σ p do: one thread keeps a key (and its value) in registers, queries and the gradients of their
 * results come by tiles; the queries of all heads of a group are summed in their order.
 */
function emitKeys(
  of: "keys" | "values",
  group: KernelGroup,
  { lse, dy, delta }: Backward,
  ctx: EmitContext,
): void {
  const c = new Call(`attentionBackward, ${of}`, group);
  const { shader, q, k, v, d, dv, T, S, H, Hk, G } = c;
  const forKeys = of === "keys";
  const out = group.outputs[forKeys ? 1 : 2]!;
  const width = forKeys ? d : dv;
  const [batch, s, heads] = k.dims as [number, number, number];
  const blocks = shader.param(Math.ceil(s / ROWS));
  const text = `  let block = group % ${blocks};
  let hk = (group / ${blocks}) % ${Hk};
  let b = group / ${blocks} / ${Hk};
  let j = block * ${ROWS}u + lid;
  let row = min(j, ${S} - 1u);
  let origin = ${c.row(k, "b", "row", "hk")};
${list(d, (n) => `  let k${n} = ${c.four(k, "origin", `${n}u`)} * ${c.scale};`)}
${forKeys ? `  let with_v = ${c.row(v, "b", "row", "hk")};\n${list(dv, (n) => `  let v${n} = ${c.four(v, "with_v", `${n}u`)};`)}` : ""}
${list(width, (n) => `  var x${n} = vec4<f32>(0.0);`)}
  let first = (${c.firstQuery(`(block * ${ROWS}u)`)} / ${TILE}u) * ${TILE}u;
  for (var g = 0u; g < ${G}; g++) {
    let h = hk * ${G} + g;
    for (var i0 = first; i0 < ${T}; i0 += ${TILE}u) {
${c.fill("queries", q, d, "i0", T, (r) => c.row(q, "b", r, "h"))}
${c.fill("gradients", dy, dv, "i0", T, (r) => c.row(dy, "b", r, "h"))}
    if (lid < ${TILE}u) {
      let i = min(i0 + lid, ${T} - 1u);
      let at = (b * ${H} + h) * ${T} + i;
      let sum = ${number(shader, lse, statistic(shader, lse, "i"))};
      sums[lid] = select(sum, 0.0, bitcast<u32>(sum) == 0xff800000u);
      ${forKeys ? `deltas[lid] = ${number(shader, delta, "at")};` : ""}
    }
    workgroupBarrier();
    for (var r = 0u; r < ${TILE}u; r++) {
      let i = i0 + r;
      if (i < ${T} && ${c.seen("b", "h", "i", "row")}) {
        let s = ${dot(
          d,
          (n) => `k${n}`,
          (n) => `queries[r * ${d}u + ${n}u]`,
        )};
        let p = exp_one(s - sums[r]);
${
  forKeys
    ? `        let dp = ${dot(
        dv,
        (n) => `v${n}`,
        (n) => `gradients[r * ${dv}u + ${n}u]`,
      )};
        let ds = p * (dp - deltas[r]) * ${c.scale};
${list(d, (n) => `        x${n} += ds * queries[r * ${d}u + ${n}u];`)}`
    : list(dv, (n) => `        x${n} += p * gradients[r * ${dv}u + ${n}u];`)
}
      }
    }
    workgroupBarrier();
    }
  }
  if (j < ${S}) {
    let to = ((b * ${S} + j) * ${Hk} + hk) * ${4 * width}u;
${list(width, (n) => `    ${storeFour(shader.functions, out.dtype, shader.bind(out, true), `to + ${4 * n}u`, `x${n}`)}`)}
  }`;
  const declarations = [
    tile("queries", d),
    tile("gradients", dv),
    `var<workgroup> sums: array<f32, ${TILE}>;`,
    forKeys ? `var<workgroup> deltas: array<f32, ${TILE}>;` : "",
  ].join("\n");
  ctx.dispatch(shader.build(batch * heads * Math.ceil(s / ROWS), ROWS, text, declarations));
}

/** Attention that never writes the scores: an online softmax over tiles of keys (Dao et al. 2022, arXiv:2205.14135). */
export const attentionKernel: Kernel = { supports, layout: () => "any", emit: emitForward };

/** Its gradients, with the probabilities made again from the kept lse; every row of a gradient has one owner. */
export const attentionBackwardKernel: Kernel = {
  supports,
  layout: () => "any",
  emit(group, ctx) {
    const { mask } = group.arg as AttentionArg;
    const [o, lse, dy] = [0, 1, 2].map((i) => operandAt(group, i + (mask ? 5 : 4)));
    const parts: Backward = {
      o: o!,
      lse: lse!,
      dy: dy!,
      delta: ctx.scratch(4 * sizeOf(lse!.dims)),
    };
    emitDelta(group, parts, ctx);
    emitQueries(group, parts, ctx);
    emitKeys("keys", group, parts, ctx);
    emitKeys("values", group, parts, ctx);
  },
};
