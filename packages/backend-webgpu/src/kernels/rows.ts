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
  return inputs.every((i) => isGpuFloat(i.dtype)) && rowsFit(dtype, dims[dims.length - 1] ?? 0);
};

/**
 * A shader in which a workgroup works on one row of `length` elements: loops over the row in the widest vectors that its
 * length allows, and joins results of its threads in a fixed order.
 */
export class RowShader {
  readonly shader: Shader;
  readonly threads: number;
  readonly n: string;
  private readonly rows: number;

  constructor(
    name: string,
    dims: Dims,
    private readonly ctx: EmitContext,
  ) {
    const length = dims[dims.length - 1]!;
    this.rows = sizeOf(dims) / length;
    this.shader = new Shader(name, length % 4 === 0 ? 4 : 1);
    this.threads = length <= 128 ? 32 : length <= 2048 ? 64 : 256;
    this.n = this.shader.param(length);
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
    return shader.width === 4
      ? storeFour(shader.functions, of.dtype, name, at, value)
      : storeOne(of.dtype, name, at, value);
  }

  /** Writes the number of this row, from one thread. */
  storeRow(of: Value, value: string): string {
    return `  if (lid == 0u) { ${storeOne("f32", this.shader.bind(of, true), "group", value)} }`;
  }

  /** Runs `body` for every vector of the row, at `k`. */
  each(body: string): string {
    const width = this.shader.width;
    return `  for (var k = lid * ${width}u; k < ${this.n}; k += ${this.threads * width}u) {\n${body}\n  }`;
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
    const reduce = (name: string, join: string) => `fn ${name}(v: f32, lid: u32) -> f32 {
  joined[lid] = v;
  workgroupBarrier();
  for (var half = ${this.threads / 2}u; half > 0u; half >>= 1u) {
    if (lid < half) { joined[lid] = ${join}; }
    workgroupBarrier();
  }
  let r = joined[0];
  workgroupBarrier();
  return r;
}`;
    const declarations = [`var<workgroup> joined: array<f32, ${this.threads}>;`];
    if (body.includes("row_sum(")) declarations.push(reduce("row_sum", "joined[lid] + joined[lid + half]"));
    if (body.includes("row_max("))
      declarations.push(reduce("row_max", "max(joined[lid], joined[lid + half])"));
    this.ctx.dispatch(this.shader.build(this.rows, this.threads, body, declarations.join("\n")));
  }

  private at(of: Operand | Value, index: string): string {
    const { shader } = this;
    const name = shader.bind(of);
    const { dtype } = of;
    return shader.width === 4 ? loadFour(shader.functions, dtype, name, index) : loadOne(dtype, name, index);
  }
}
