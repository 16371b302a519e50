import { type KernelGroup, type Operand, type Site, sizeOf } from "@lowrank/tensor/backend";
import { operandAt, scalarAt } from "../emit.js";
import { type Scratch, Shader } from "../shader.js";
import { seq } from "../wgsl/text.js";
import type { Tile } from "./attention-tile.js";
import { loadFour, loadOne } from "../wgsl/storage.js";
import { isGpuFloat } from "./rows.js";

export interface AttentionArg {
  readonly scale: number;
  readonly causal: boolean;
  readonly mask: boolean;
}

/** Widest head: what a thread holds of a row stays within registers. */
const WIDEST = 256;

export const supportsAttention = ({ inputs }: Site): boolean => {
  const [q, , v] = inputs;
  const fits = (n: number) => n > 0 && n % 4 === 0 && n <= WIDEST;
  return (
    isGpuFloat(q!.dtype) && fits(q!.dims[3]!) && fits(v!.dims[3]!) && inputs.every((i) => sizeOf(i.dims) > 0)
  );
};

/** Where row (b, time, head) of an operand begins, by variables. */
type Place = (b: string, time: string, head: string) => string;

/** The operands of one call with what every kernel of it needs: sizes, and how rows are read. */
export class Call {
  readonly shader: Shader;
  readonly q: Operand;
  readonly k: Operand;
  readonly v: Operand;
  /** Vectors of four in a row of q and k, and of v. */
  readonly d: number;
  readonly dv: number;
  readonly T: string;
  readonly S: string;
  readonly H: string;
  readonly Hk: string;
  readonly G: string;
  readonly scale: string;
  readonly arg: AttentionArg;
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
  }

  place(x: Operand): Place {
    const { shader } = this;
    const [sb, st, sh] = x.strides.map((n) => shader.param(n));
    const offset = shader.param(x.offset);
    return (b, time, head) => `${offset} + ${b} * ${sb} + (${time}) * ${st} + ${head} * ${sh}`;
  }

  /** Reads vector `index` of the row that begins at `row`. */
  reader(x: Operand): (row: string, index: string) => string {
    const { shader } = this;
    const name = shader.bind(x);
    const aligned = x.strides[3] === 1 && [x.offset, ...x.strides.slice(0, 3)].every((n) => n % 4 === 0);
    if (aligned) return (row, i) => loadFour(x.dtype, name, `${row} + (${i}) * 4u`);
    const step = shader.param(x.strides[3]!);
    const one = (row: string, i: string, l: number): string =>
      loadOne(x.dtype, name, `${row} + ((${i}) * 4u + ${l}u) * ${step}`);
    return (row, i) => `vec4<f32>(${seq(4, (l) => one(row, i, l), ", ")})`;
  }

  /** A condition's rest: and query `i` of head `h` sees key `j`, by variables; both exist. Without branches. */
  seen(): (i: string, j: string) => string {
    const { causal, mask } = this.arg;
    const { shader } = this;
    const ordered = (i: string, j: string): string =>
      causal ? ` & (i32(${j}) <= i32(${i}) + ${this.offset})` : "";
    if (!mask) return ordered;
    const x = operandAt(this.group, 4);
    const [sb, sh, st, ss] = x.strides.map((n) => shader.param(n));
    const [offset, name] = [shader.param(x.offset), shader.bind(x)];
    const place = (i: string, j: string) =>
      `${offset} + b * ${sb} + h * ${sh} + (${i}) * ${st} + (${j}) * ${ss}`;
    return (i, j) => `${ordered(i, j)} & ${loadOne("bool", name, place(i, j))}`;
  }

  /** Statements that say where a thread stands that works on a tile of queries: of `blocks` in each head. */
  queries(blocks: string, { place, height, rows }: Tile): string {
    const { H } = this;
    return `  let block = group % ${blocks};
  let h = (group / ${blocks}) % ${H};
  let b = group / ${blocks} / ${H};
  let hk = h / ${this.G};
${place}
  let i = block * ${height}u + ty * ${rows}u;`;
  }

  /** The first key that no query before `i` sees, at most S. */
  lastKey(i: string): string {
    return this.arg.causal ? `u32(clamp(i32(${i}) + ${this.offset}, 0, i32(${this.S})))` : this.S;
  }

  /** The first query that sees key `j`. */
  firstQuery(j: string): string {
    return this.arg.causal ? `u32(max(i32(${j}) - ${this.offset}, 0))` : "0u";
  }
}

/** The number of query `i` of (b, h) among numbers [B, H, T]. */
export function statistic(
  shader: Shader,
  x: Operand | Scratch,
  i: (n: string) => string,
): (n: string) => string {
  const name = shader.bind(x);
  if ("kind" in x) return (n) => loadOne("f32", name, i(n));
  const [sb, sh, st] = x.strides.map((n) => shader.param(n));
  const offset = shader.param(x.offset);
  return (n) => loadOne("f32", name, `${offset} + b * ${sb} + h * ${sh} + (${n}) * ${st}`);
}
