import { contiguousStrides, sizeOf } from "@lowrank/tensor/backend";
import { type Kernel, operandAt, scalarAt } from "../emit.js";
import { classOf } from "../wgsl/registers.js";
import { loadOne } from "../wgsl/storage.js";
import { emitElements, ZERO } from "./elements.js";
import { emitConcat } from "./concat.js";

/** y = the inputs end to end along an axis. */
export const concatKernel: Kernel = { emit: emitConcat };

/** y[low + i (interior + 1)] = x[i], zeros elsewhere. */
export const padKernel: Kernel = {
  emit(group, ctx) {
    const [x, y] = [operandAt(group, 0), group.outputs[0]!];
    const { low, interior } = group.arg as { low: number[]; interior: number[] };
    const strides = contiguousStrides(x.dims);
    emitElements("pad", y, ctx, (s) => {
      const from = s.bind(x);
      const zero = ZERO[classOf(x.dtype)];
      if (x.dims.some((n) => n === 0)) return `  return ${zero};`;
      const lines = ["  var rest = i;", "  var at = 0u;"];
      for (let d = y.dims.length - 1; d >= 0; d--) {
        const [size, n, before] = [s.param(y.dims[d]!), s.param(x.dims[d]!), s.param(low[d]!)];
        const [step, stride] = [s.param(interior[d]! + 1), s.param(strides[d]!)];
        // Places before the first wrap to large numbers.
        lines.push(
          "  {",
          `    let p = rest % ${size} - ${before};`,
          `    rest = rest / ${size};`,
          `    if (p / ${step} >= ${n} || p % ${step} != 0u) { return ${zero}; }`,
          `    at += (p / ${step}) * ${stride};`,
          "  }",
        );
      }
      lines.push(`  return ${loadOne(x.dtype, from, "at")};`);
      return lines.join("\n");
    });
  },
};

/** y = base with value written over it along an axis from a position that is a scalar of the plan. */
export const updateSliceKernel: Kernel = {
  emit(group, ctx) {
    const [base, value, y] = [operandAt(group, 0), operandAt(group, 1), group.outputs[0]!];
    const { axis } = group.arg as { axis: number };
    const start = scalarAt(group, 2);
    emitElements("updateSlice", y, ctx, (s) => {
      const [n, m] = [s.param(base.dims[axis]!), s.param(value.dims[axis]!)];
      const inner = s.param(sizeOf(base.dims.slice(axis + 1)));
      const [under, over] = [s.bind(base), s.bind(value)];
      return `  let q = i / ${inner};
  let j = bitcast<u32>(i32(q % ${n}) - ${s.scalar(start.slot, "i32")});
  if (j >= ${m}) { return ${loadOne(base.dtype, under, "i")}; }
  return ${loadOne(value.dtype, over, `((q / ${n}) * ${m} + j) * ${inner} + i % ${inner}`)};`;
    });
  },
};
