import { bug, type KernelGroup, type Operand } from "@lowrank/tensor/backend";
import { operandAt } from "../emit.js";
import type { Shader } from "../shader.js";
import { loadFour, loadOne } from "../wgsl/storage.js";

/** How elements of one side of a product are read in a shader; `o` counts rows of A or columns of B, `k` the depth. */
export interface Reader {
  /** Four from (o, k) along the side's vectors, a multiple of 4 there. */
  four(o: string, k: string): string;
  one(o: string, k: string): string;
}

/** One side of a product. */
export interface Side {
  /** Rows of A or columns of B. */
  readonly outer: number;
  /** The axis along which four elements can be read at once. */
  readonly along: "depth" | "outer" | null;
  /** Gives the shader what it needs; `base` names where the matrix begins. */
  read(shader: Shader, base: string): Reader;
}

/** C = A B for each matrix of a batch; C is row-major. */
export interface Product {
  readonly name: string;
  readonly M: number;
  readonly N: number;
  readonly K: number;
  readonly batch: readonly number[];
  readonly a: Side;
  readonly b: Side;
  /** Strides of the batch axes and offsets, for each side. */
  readonly places: readonly { readonly offset: number; readonly strides: readonly number[] }[];
}

/** The product that a matmul stands for. */
export function productOf(group: KernelGroup): Product {
  const [a, b] = [operandAt(group, 0), operandAt(group, 1)];
  const y = group.outputs[0]!;
  const rank = y.dims.length;
  const [M, N, K] = [y.dims[rank - 2]!, y.dims[rank - 1]!, a.dims[rank - 1]!];
  return joined({
    name: "matmul",
    M,
    N,
    K,
    batch: y.dims.slice(0, -2),
    a: stridedSide(a, a.strides[rank - 2]!, a.strides[rank - 1]!, M, K),
    b: stridedSide(b, b.strides[rank - 1]!, b.strides[rank - 2]!, N, K),
    places: [a, b].map(({ offset, strides }) => ({ offset, strides: strides.slice(0, -2) })),
  });
}

/** A batch over which B is the same and the rows of A follow one another is one taller product. */
function joined(p: Product): Product {
  const [a, b] = p.places as [Product["places"][0], Product["places"][0]];
  const axes = p.batch.map((n, d) => ({ n, a: a.strides[d]!, b: b.strides[d]! })).filter(({ n }) => n !== 1);
  const kept = {
    ...p,
    batch: axes.map(({ n }) => n),
    places: [
      { ...a, strides: axes.map((x) => x.a) },
      { ...b, strides: axes.map((x) => x.b) },
    ],
  };
  const side = p.a as StridedSide;
  const last = axes.at(-1);
  if (!last) return kept;
  if (last.b !== 0 || (p.M !== 1 && last.a !== p.M * side.outerStride)) return kept;
  const M = p.M * last.n;
  const tall = p.M === 1 ? stridedSide(side.x, last.a, side.depthStride, M, p.K) : { ...side, outer: M };
  return joined({
    ...kept,
    M,
    a: tall,
    batch: kept.batch.slice(0, -1),
    places: kept.places.map((x) => ({ ...x, strides: x.strides.slice(0, -1) })),
  });
}

interface StridedSide extends Side {
  readonly x: Operand;
  readonly outerStride: number;
  readonly depthStride: number;
}

/** A side that lies in memory with any strides. */
export function stridedSide(
  x: Operand,
  outerStride: number,
  depthStride: number,
  outer: number,
  depth: number,
): StridedSide {
  const rest = [x.offset, ...x.strides.slice(0, -2)];
  const whole = (along: number, across: number, length: number): boolean =>
    along === 1 && length % 4 === 0 && [across, ...rest].every((s) => s % 4 === 0);
  return {
    x,
    outerStride,
    depthStride,
    outer,
    along: whole(depthStride, outerStride, depth)
      ? "depth"
      : whole(outerStride, depthStride, outer)
        ? "outer"
        : null,
    read(s, base) {
      const buffer = s.bind(x);
      const step = (stride: number): string => (stride === 1 ? "" : ` * ${s.param(stride)}`);
      const [byOuter, byDepth] = [step(outerStride), step(depthStride)];
      const place = (o: string, k: string) => `${base} + (${o})${byOuter} + (${k})${byDepth}`;
      // Functions keep the text short where a load is long.
      const call = (name: string, type: string, load: string, at: string): string => {
        s.own.set(name, `fn ${name}(i: u32) -> ${type} { return ${load}; }`);
        return `${name}(${at})`;
      };
      const id = `${buffer}_${x.dtype}`;
      return {
        four: (o, k) => call(`${id}_4`, "vec4<f32>", loadFour(x.dtype, buffer, "i"), place(o, k)),
        one: (o, k) => call(`${id}_1`, "f32", loadOne(x.dtype, buffer, "i"), place(o, k)),
      };
    },
  };
}

/** Statements that say where both sides of matrix number `matrix` begin, as `base_a` and `base_b`. */
export function batchText(s: Shader, { batch, places }: Product): string {
  const lines = places.map(({ offset }, i) => `  var base_${"ab"[i]} = ${s.param(offset)};`);
  if (batch.length > 0) lines.push("  var rest = matrix;");
  for (let d = batch.length - 1; d >= 0; d--) {
    const size = s.param(batch[d]!);
    places.forEach(({ strides }, i) => {
      if (strides[d] !== 0)
        lines.push(
          `  base_${"ab"[i]} += (rest % ${size}) * ${s.param(strides[d] ?? bug("a batch without strides"))};`,
        );
    });
    lines.push(`  rest = rest / ${size};`);
  }
  return lines.join("\n");
}
