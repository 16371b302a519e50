import { bug, type Operand, type Site } from "@lowrank/tensor/backend";
import { type Kernel, operandAt } from "../emit.js";
import type { Shader } from "../shader.js";
import { loadOne } from "../wgsl/storage.js";
import { canFinish } from "./finish.js";
import { emitBest } from "./matmul-variants.js";
import { type Product, type Side, stridedSide } from "./product.js";
import { isGpuFloat } from "./rows.js";

interface QuantizedArg {
  readonly bits: 8 | 4;
  readonly groupSize: number;
  readonly activations: string;
  readonly transposed: boolean;
}

/** The codes of a weight [out, in] as a side of a product, each four neighbours of a row widened where they are read. */
function codesSide(
  weight: Operand,
  scales: Operand,
  mins: Operand | null,
  { bits, groupSize, transposed }: QuantizedArg,
): Side {
  const columns = (weight.dims[1]! * 8) / bits;
  return {
    outer: transposed ? columns : weight.dims[0]!,
    along: transposed ? "outer" : "depth",
    read(s) {
      s.own.set("codes", codesText(s, weight, scales, mins, bits, columns, groupSize));
      return {
        four: (o, k) => (transposed ? `codes(${k}, ${o})` : `codes(${o}, ${k})`),
        one: () => bug("codes are read in fours"),
      };
    },
  };
}

/** `codes(r, c)`: scale · q + min for columns c to c + 3 of row r, c a multiple of 4. */
function codesText(
  s: Shader,
  weight: Operand,
  scales: Operand,
  mins: Operand | null,
  bits: 8 | 4,
  columns: number,
  groupSize: number,
): string {
  const w = s.bind(weight);
  const [C, groups, size] = [columns, columns / groupSize, groupSize].map((n) => s.param(n));
  const perGroup = (x: Operand): string => loadOne(x.dtype, s.bind(x), "g");
  // Codes of 8 bits are signed; of those of 4 bits the first is the low half of a byte, with its zero at 8.
  const q =
    bits === 8
      ? `vec4<f32>((bitcast<vec4<i32>>(vec4<u32>(${w}[i >> 4u][(i >> 2u) & 3u])) << vec4<u32>(24u, 16u, 8u, 0u)) >> vec4<u32>(24u))`
      : `vec4<f32>(((vec4<u32>(${w}[i >> 5u][(i >> 3u) & 3u]) >> (vec4<u32>(0u, 4u, 8u, 12u) + vec4<u32>((i & 4u) << 2u))) & vec4<u32>(15u))) - 8.0`;
  return `fn codes(r: u32, c: u32) -> vec4<f32> {
  let i = r * ${C} + c;
  let g = r * ${groups} + c / ${size};
  return (${q}) * ${perGroup(scales)}${mins ? ` + ${perGroup(mins)}` : ""};
}`;
}

const supports = ({ inputs, arg }: Site): boolean => {
  const { bits, groupSize, activations } = arg as QuantizedArg;
  const [x, weight] = inputs;
  // Rounded activations are made by loops; what follows is a product with plain ones.
  return (
    activations === "f32" &&
    isGpuFloat(x!.dtype) &&
    groupSize % 4 === 0 &&
    (weight!.dims[1]! * 8) % (4 * bits) === 0 &&
    inputs.every(({ dims }) => dims[0]! * dims[1]! > 0)
  );
};

/** y = x Wᵀ, or x W, with W in codes that are widened where they are multiplied: no copy of W is made. */
export const quantizedMatmulKernel: Kernel = {
  supports,
  layout: (index) => (index === 0 ? "any" : "contiguous"),
  widens: (index) => index !== 1,
  fusesEpilogue: (group, loop, buffers) => canFinish(loop, group.outputs[0]!.dims[1]!, buffers - 2),
  emit(group, ctx) {
    const arg = group.arg as QuantizedArg;
    const [x, weight, scales, mins = null] = group.inputs.map((_, i) => operandAt(group, i));
    const [M, K] = x!.dims as [number, number];
    const b = codesSide(weight!, scales!, mins, arg);
    const product: Product = {
      name: "quantizedMatmul",
      M,
      N: b.outer,
      K,
      batch: [],
      a: stridedSide(x!, x!.strides[0]!, x!.strides[1]!, M, K),
      b,
      places: [
        { offset: x!.offset, strides: [] },
        { offset: 0, strides: [] },
      ],
    };
    emitBest(group, product, ctx);
  },
};
