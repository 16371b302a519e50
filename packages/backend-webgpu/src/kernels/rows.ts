import { type Dims, type DType, type Operand, type Site, sizeOf, type Value } from "@lowrank/tensor/backend";
import type { EmitContext } from "../emit.js";
import { Shader } from "../shader.js";
import { isWide, loadFour, loadOne, storeFour, storeOne } from "../wgsl/storage.js";

/** Whether a kernel that works row by row may write rows of this length: they begin with whole words. */
export const rowsFit = (dtype: DType, length: number): boolean =>
  length > 0 && (isWide(dtype) || length % 4 === 0);

/** Floats that a GPU has. */
export const isGpuFloat = (dtype: DType): boolean => dtype === "f32" || dtype === "f16" || dtype === "bf16";

/** For composites whose operands are all floats and whose first result is written in rows. */
export const supportsRows = ({ inputs, outputs }: Site): boolean => {
  const { dtype, dims } = outputs[0]!;
  return inputs.every((i) => isGpuFloat(i.dtype)) && rowsFit(dtype, dims.at(-1) ?? 0);
};

/** Vectors of a row that a thread keeps in registers. */
const MOST_KEPT = 4;

/** A value at each place of a row, read or computed once where the row is short enough for registers. */
export interface Kept {
  /** The statement that computes and keeps it; empty where it is computed again at each use. */
  readonly keep: string;
  readonly value: string;
}

/**
 * A shader in which a workgroup works on one row of `length` elements: passes over the row in the widest vectors that its
 * length allows, and joins results of its threads in a fixed order.
 */
export class RowShader {
  readonly shader: Shader;
  readonly threads: number;
  readonly n: string;
  private readonly rows: number;
  /** Vectors of each thread, where passes are written out; 0: they are loops. */
  private readonly perThread: number;
  private readonly kept: string[] = [];

  constructor(
    name: string,
    dims: Dims,
    private readonly ctx: EmitContext,
  ) {
    const length = dims.at(-1)!;
    this.rows = sizeOf(dims) / length;
    this.shader = new Shader(name, length % 4 === 0 ? 4 : 1);
    this.threads = length <= 128 ? 32 : length <= 2048 ? 64 : 256;
    this.n = this.shader.param(length);
    const vectors = Math.ceil(length / (this.shader.width * this.threads));
    this.perThread = vectors <= MOST_KEPT ? vectors : 0;
  }

  /** Elements of a row's vector at `k` in the row, from the row's start. */
  load(of: Operand | Value): string {
    return this.at(of, `group * ${this.n} + k`);
  }

  /** The same of a vector that all rows share. */
  shared(of: Operand): string {
    return this.at(of, "k");
  }

  /** The number of this row in a vector with one for each. */
  row(of: Operand, dtype: "f32" | "i32" = "f32"): string {
    return loadOne(of.dtype === "f32" ? dtype : of.dtype, this.shader.bind(of), "group");
  }

  store(of: Value, value: string): string {
    const { shader } = this;
    const name = shader.bind(of, true);
    const at = `group * ${this.n} + k`;
    return shader.width === 4 ? storeFour(of.dtype, name, at, value) : storeOne(of.dtype, name, at, value);
  }

  /** Writes the number of this row, from one thread. */
  storeRow(of: Value, value: string): string {
    return `  if (lid == 0u) { ${storeOne("f32", this.shader.bind(of, true), "group", value)} }`;
  }

  /** `text`, which is the same at every pass, kept from the pass that has `keep`. */
  keep(text: string): Kept {
    if (this.perThread === 0) return { keep: "", value: `(${text})` };
    const name = `kept${this.kept.length}`;
    this.kept.push(name);
    return { keep: `${name}_$ = ${text};`, value: `${name}_$` };
  }

  /** Runs `body` for every vector of the row, at `k`. */
  each(body: string): string {
    const width = this.shader.width;
    const step = this.threads * width;
    if (this.perThread === 0)
      return `  for (var k = lid * ${width}u; k < ${this.n}; k += ${step}u) {\n${body}\n  }`;
    return Array.from({ length: this.perThread }, (_, i) => {
      const at = `lid * ${width}u + ${i * step}u`;
      return `  { let k = ${at}; if (k < ${this.n}) {\n${body.replaceAll("_$", `_${i}`)}\n  } }`;
    }).join("\n");
  }

  /** The sum over all threads and lanes of `value`. */
  sum(value: string): string {
    return `row_sum(${this.shader.width === 4 ? `dot(${value}, F(1.0))` : value}, lid)`;
  }

  max(value: string): string {
    const v = value;
    return `row_max(${this.shader.width === 4 ? `max(max(${v}.x, ${v}.y), max(${v}.z, ${v}.w))` : v}, lid)`;
  }

  emit(body: string): void {
    const vars = this.kept.flatMap((name) =>
      Array.from({ length: this.perThread }, (_, i) => `  var ${name}_${i}: F;`),
    );
    const declarations = [`var<workgroup> joined: array<f32, ${this.threads}>;`];
    if (body.includes("row_sum(")) declarations.push(this.joining("row_sum", (a, b) => `${a} + ${b}`));
    if (body.includes("row_max(")) declarations.push(this.joining("row_max", (a, b) => `max(${a}, ${b})`));
    const text = [...vars, body].join("\n");
    this.ctx.dispatch(this.shader.build(this.rows, this.threads, text, declarations.join("\n")));
  }

  /** A function in which a few threads join a part of the numbers each, and then every thread joins the parts. */
  private joining(name: string, join: (a: string, b: string) => string): string {
    const parts = this.threads > 64 ? 16 : 8;
    return `fn ${name}(v: f32, lid: u32) -> f32 {
  joined[lid] = v;
  workgroupBarrier();
  if (lid < ${parts}u) {
    var part = joined[lid];
    for (var i = lid + ${parts}u; i < ${this.threads}u; i += ${parts}u) { part = ${join("part", "joined[i]")}; }
    joined[lid] = part;
  }
  workgroupBarrier();
  var r = joined[0];
  for (var i = 1u; i < ${parts}u; i++) { r = ${join("r", "joined[i]")}; }
  workgroupBarrier();
  return r;
}`;
  }

  private at(of: Operand | Value, index: string): string {
    const { shader } = this;
    const name = shader.bind(of);
    const { dtype } = of;
    return shader.width === 4 ? loadFour(dtype, name, index) : loadOne(dtype, name, index);
  }
}
