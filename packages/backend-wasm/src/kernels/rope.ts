import { dtypeBytes } from "@lowrank/tensor/backend";
import { ROPE } from "../../assembly/ids.js";
import { chunksOf, DTYPE_IDS, type Kernel, operandAt } from "../emit.js";
import { isNarrowFloat, stridesAt } from "./operands.js";

/** Elements worth waking a thread for. */
const GRAIN = 1 << 16;

export const ropeKernel: Kernel = {
  supports: ({ inputs }) => isNarrowFloat(inputs[0]!.dtype) && inputs[2]!.dtype === "f32",
  layout: (index) => (index === 0 ? "rows" : "any"),
  inPlace: 0,
  emit(group, ctx) {
    const { interleaved, inverse } = group.arg as { interleaved: boolean; inverse: boolean };
    const [x, positions, frequencies] = [0, 1, 2].map((i) => operandAt(group, i));
    const [b, t, h, d] = x!.dims as [number, number, number, number];
    const bytes = dtypeBytes(x!.dtype);
    ctx.scratch(d * 16);
    ctx.command(
      ROPE,
      [
        ctx.pointer(x!),
        ctx.pointer(positions!),
        ctx.pointer(frequencies!),
        ctx.pointer(group.outputs[0]!),
        b,
        t,
        h,
        d / 2,
        ...stridesAt(x!, 0, 1, 2).map((stride) => stride * bytes),
        positions!.dims[0] === 1 ? 0 : positions!.strides[0]!,
        positions!.strides[1]!,
        frequencies!.strides[0]!,
        interleaved ? 1 : 0,
        inverse ? 1 : 0,
        DTYPE_IDS[x!.dtype],
      ],
      chunksOf(b * t * h * d, GRAIN),
    );
  },
};
