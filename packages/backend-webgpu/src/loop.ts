import { type LoopGroup, type Reduction, sizeOf } from "@lowrank/tensor/backend";
import type { EmitContext } from "./emit.js";
import { LoopBody } from "./loop-body.js";
import { type Scratch, Shader } from "./shader.js";
import { castText, classOf, type RegisterClass, type Width, wordType } from "./wgsl/registers.js";
import { seq } from "./wgsl/text.js";
import { isWide, loadOne, storeFour, storeOne } from "./wgsl/storage.js";

const THREADS = 64;

/** Emits a fused loop: a map, or a reduction in one or two stages. */
export function emitLoop(group: LoopGroup, ctx: EmitContext): void {
  if (group.reductions.length === 0) {
    if (sizeOf(group.space) > 0) emitMap(group, ctx);
    return;
  }
  if (sizeOf(group.space) === 0) {
    for (const r of group.reductions) emitEmpty(r, ctx);
    return;
  }
  const walk = walkOf(group);
  if (group.stores.length > 0 && walk.width === 1) {
    // Rows that begin within a vector: the stores go by themselves, last, since they may overwrite what is read.
    emitReduction({ ...group, stores: [] }, walk, ctx);
    emitMap({ ...group, reductions: [], reduced: group.reduced.map(() => false) }, ctx);
  } else emitReduction(group, walk, ctx);
}

function emitMap(group: LoopGroup, ctx: EmitContext): void {
  const shader = new Shader(group.name, 4);
  const text = (n: string): string => {
    const body = new LoopBody(shader, group, n);
    return `${body.lines()}\n${body.stores()}`;
  };
  ctx.dispatch(shader.each(sizeOf(group.space), 4, text));
}

/** A space as [outer][reduced][inner]: the reduced axes form one run. */
interface Walk {
  readonly outer: number;
  readonly reduced: number;
  readonly inner: number;
  readonly width: Width;
  /** Parts of the reduced run that are reduced by themselves first. */
  readonly strips: number;
  readonly strip: number;
}

function walkOf(group: LoopGroup): Walk {
  const first = group.reduced.indexOf(true);
  const last = group.reduced.lastIndexOf(true);
  const part = (from: number, to: number) => sizeOf(group.space.slice(from, to));
  const [outer, reduced, inner] =
    first < 0
      ? [sizeOf(group.space), 1, 1]
      : [part(0, first), part(first, last + 1), part(last + 1, group.space.length)];
  const width = (inner === 1 ? reduced : inner) % 4 === 0 ? 4 : 1;
  const [strips, strip] =
    inner === 1 ? rowStrips(outer, reduced) : columnStrips(outer * inner, reduced, width);
  return { outer, reduced, inner, width, strips, strip };
}

function rowStrips(rows: number, length: number): [strips: number, strip: number] {
  if (rows >= 128 || length < 8192) return [1, length];
  const wanted = Math.min(Math.ceil(length / 4096), Math.ceil(256 / rows));
  const strip = Math.ceil(length / wanted / 256) * 256;
  return [Math.ceil(length / strip), strip];
}

function columnStrips(columns: number, length: number, width: Width): [strips: number, strip: number] {
  const threads = columns / width;
  if (threads >= 8192 || length < 64) return [1, length];
  const wanted = Math.min(Math.ceil(length / 32), Math.ceil(16384 / threads));
  const strip = Math.ceil(length / wanted);
  return [Math.ceil(length / strip), strip];
}

function emitReduction(group: LoopGroup, walk: Walk, ctx: EmitContext): void {
  const { outer, reduced, inner, width, strips, strip } = walk;
  const kept = outer * inner;
  const partial = group.reductions.map((r): Scratch | null =>
    strips > 1 || !isWide(r.value.dtype) ? ctx.scratch(4 * kept * strips) : null,
  );
  const shader = new Shader(group.name, width);
  const totals = new Totals(shader, group.reductions);
  const [K, R, L, T] = [kept, reduced, strip, strips].map((n) => shader.param(n));
  const size = shader.param(sizeOf(group.space));
  const body = new LoopBody(shader, group, size!);
  const inside = `${body.lines()}\n${body.stores()}\n${totals.add((r) => body.register(r))}`;
  // Where the result of kept index `o` goes.
  const write = (at: string, value: (r: number) => string, count: Width): string =>
    group.reductions
      .map((r, i) => {
        const scratch = partial[i];
        const name = shader.bind(scratch ?? r.value, true);
        const dtype = scratch ? wordType(r.dtype) : r.value.dtype;
        const index = scratch && strips > 1 ? `(strip * ${K} + ${at})` : at;
        const text = scratch ? widened(r, value(i), count) : value(i);
        if (count === 4 && kept % 4 === 0) return storeFour(dtype, name, index, text);
        return storeOne(dtype, name, index, text);
      })
      .join("\n");
  if (inner > 1) {
    const columns = shader.param(inner / width);
    const perStrip = shader.param((outer * inner) / width);
    const text = `  let at = group * ${THREADS}u + lid;
  let strip = at / ${perStrip};
  let column = at % ${perStrip};
  if (strip >= ${T}) { return; }
  let o = column / ${columns};
  let i = (column % ${columns}) * ${width}u;
  let inner = ${columns} * ${width}u;
${totals.declare()}
  for (var k = strip * ${L}; k < min(${R}, (strip + 1u) * ${L}); k++) {
    let e = (o * ${R} + k) * inner + i;
${inside}
  }
${write("(o * inner + i)", (r) => totals.name(r), width)}`;
    ctx.dispatch(shader.build(Math.ceil((strips * kept) / width / THREADS), THREADS, text));
  } else if (reduced <= 64 && strips === 1) {
    const text = `  let o = group * ${THREADS}u + lid;
  let strip = 0u;
  if (o >= ${K}) { return; }
${totals.declare()}
  for (var k = 0u; k < ${R}; k += ${width}u) {
    let e = o * ${R} + k;
${inside}
  }
${totals.fold()}
${write("o", (r) => totals.scalar(r), 1)}`;
    ctx.dispatch(shader.build(Math.ceil(kept / THREADS), THREADS, text));
  } else {
    const threads = reduced >= 1024 ? 256 : 64;
    const text = `  let o = group / ${T};
  let strip = group % ${T};
${totals.declare()}
  for (var k = strip * ${L} + lid * ${width}u; k < min(${R}, (strip + 1u) * ${L}); k += ${threads * width}u) {
    let e = o * ${R} + k;
${inside}
  }
${totals.fold()}
${totals.tree(threads)}
  if (lid == 0u) {
${write("o", (r) => totals.scalar(r), 1)}
  }`;
    ctx.dispatch(shader.build(kept * strips, threads, text, totals.shared(threads)));
  }
  group.reductions.forEach((r, i) => {
    if (partial[i]) emitJoin(r, partial[i], kept, strips, ctx);
  });
}

const widened = (r: Reduction, text: string, count: Width): string => {
  if (classOf(r.dtype) !== "B") return text;
  return count === 4 ? `select(vec4<u32>(0u), vec4<u32>(1u), ${text})` : `select(0u, 1u, ${text})`;
};

/** Joins the strips of a reduction in their order and writes its dtype, four results a thread. */
function emitJoin(r: Reduction, partial: Scratch, kept: number, strips: number, ctx: EmitContext): void {
  const shader = new Shader(`${r.op} of parts`, 4);
  const totals = new Totals(shader, [r]);
  const T = shader.param(strips);
  const from = shader.bind(partial);
  const kind = classOf(r.dtype);
  const lane = (K: string, l: number): string => {
    const word = loadOne(wordType(r.dtype), from, `k * ${K} + min(e + ${l}u, ${K} - 1u)`);
    return kind === "B" ? `${word} != 0u` : word;
  };
  const text = (K: string): string => `${totals.declare()}
  for (var k = 0u; k < ${T}; k++) {
    let r0 = ${kind}(${seq(4, (l) => lane(K, l), ", ")});
${totals.add(() => "r0")}
  }
${storeFour(r.value.dtype, shader.bind(r.value, true), "e", castText(totals.name(0), r.dtype, r.value.dtype))}`;
  ctx.dispatch(shader.each(kept, 4, text));
}

/** A reduction over nothing. */
function emitEmpty(r: Reduction, ctx: EmitContext): void {
  if (r.value.size === 0) return;
  const shader = new Shader(`${r.op} of nothing`, 4);
  const totals = new Totals(shader, [r]);
  const store = storeFour(r.value.dtype, shader.bind(r.value, true), "e", totals.name(0));
  ctx.dispatch(shader.each(r.value.size, 4, () => `${totals.declare()}\n${store}`));
}

const START: Record<RegisterClass, Record<Reduction["op"], string>> = {
  F: { sum: "F(0.0)", prod: "F(1.0)", max: "-inf()", min: "inf()" },
  I: { sum: "I(0)", prod: "I(1)", max: "I(-2147483647 - 1)", min: "I(2147483647)" },
  U: { sum: "U(0u)", prod: "U(1u)", max: "U(0u)", min: "U(4294967295u)" },
  B: { sum: "B(false)", prod: "B(true)", max: "B(false)", min: "B(true)" },
};

/** The running results of a loop's reductions. */
class Totals {
  constructor(
    private readonly shader: Shader,
    private readonly reductions: readonly Reduction[],
  ) {}

  name(i: number): string {
    return `t${i}`;
  }

  /** The result of one thread, once `fold` has joined its lanes. */
  scalar(i: number): string {
    return this.shader.width === 4 ? `u${i}` : `t${i}`;
  }

  declare(): string {
    return this.reductions
      .map((r, i) => {
        const start = START[classOf(r.dtype)][r.op];
        return `  var t${i} = ${start};`;
      })
      .join("\n");
  }

  add(register: (r: number) => string): string {
    return this.reductions
      .map((r, i) => `t${i} = ${this.join(r, `t${i}`, register(r.register), false)};`)
      .join("\n");
  }

  /** Joins the four lanes of each result. */
  fold(): string {
    if (this.shader.width === 1) return "";
    return this.reductions
      .map((r, i) => {
        const two = (a: string, b: string) => this.join(r, a, b, true);
        return `  var u${i} = ${two(two(`t${i}.x`, `t${i}.y`), two(`t${i}.z`, `t${i}.w`))};`;
      })
      .join("\n");
  }

  shared(threads: number): string {
    const arrays = this.reductions.map(
      (r, i) => `var<workgroup> shared${i}: array<${wordType(r.dtype)}, ${threads}>;`,
    );
    return arrays.join("\n");
  }

  /** Joins the results of all threads of a workgroup into that of thread 0. */
  tree(threads: number): string {
    const lines: string[] = [];
    this.reductions.forEach((r, i) => {
      const own = this.scalar(i);
      lines.push(`  shared${i}[lid] = ${widened(r, own, 1)};`);
    });
    const parts = threads > 64 ? 16 : 8;
    const joins = (to: (i: number) => string, at: string): string =>
      this.reductions
        .map((r, i) => {
          const [a, b] = [to(i), `shared${i}[${at}]`];
          if (classOf(r.dtype) !== "B") return `${a} = ${this.join(r, a, b, true)};`;
          return `${a} = ${a} ${r.op === "max" || r.op === "sum" ? "|" : "&"} ${b};`;
        })
        .join(" ");
    const all = (text: (i: number) => string): string => this.reductions.map((_, i) => text(i)).join(" ");
    // A few threads join a part of the results each, then every thread joins the parts.
    lines.push(`  workgroupBarrier();
  if (lid < ${parts}u) {
    ${all((i) => `var part${i} = shared${i}[lid];`)}
    for (var i = lid + ${parts}u; i < ${threads}u; i += ${parts}u) { ${joins((i) => `part${i}`, "i")} }
    ${all((i) => `shared${i}[lid] = part${i};`)}
  }
  workgroupBarrier();
  ${all((i) => `var all${i} = shared${i}[0];`)}
  for (var i = 1u; i < ${parts}u; i++) { ${joins((i) => `all${i}`, "i")} }`);
    this.reductions.forEach((r, i) => {
      lines.push(`  ${this.scalar(i)} = all${i}${classOf(r.dtype) === "B" ? " != 0u" : ""};`);
    });
    return lines.join("\n");
  }

  private join(r: Reduction, a: string, b: string, single: boolean): string {
    const kind = classOf(r.dtype);
    if (kind === "B") return `(${a} ${r.op === "max" || r.op === "sum" ? "|" : "&"} ${b})`;
    if (r.op === "sum") return `(${a} + ${b})`;
    if (r.op === "prod") return `(${a} * ${b})`;
    if (kind !== "F") return `${r.op}(${a}, ${b})`;
    const whole = r.op === "max" ? "maximum_" : "minimum_";
    return single && this.shader.width === 4 ? `${whole}(F(${a}), F(${b})).x` : `${whole}(${a}, ${b})`;
  }
}
