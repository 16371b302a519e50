import { NORM, NORM_BACKWARD } from "../../assembly/ids.js";
import { chunksOf, DTYPE_IDS, f32Word, type Kernel, operandAt } from "../emit.js";
import { isNarrowFloat, rowsOf } from "./operands.js";

/** Elements worth waking a thread for. */
const GRAIN = 1 << 16;
const NONE = 0;

const supports: Kernel["supports"] = ({ inputs }) => inputs.every((input) => isNarrowFloat(input.dtype));

export const layerNormKernel: Kernel = {
  supports,
  inPlace: 0,
  emit(group, ctx) {
    const { eps, affine } = group.arg as { eps: number; affine: boolean };
    const x = operandAt(group, 0);
    const weight = affine ? operandAt(group, 1) : null;
    const bias = affine ? operandAt(group, 2) : null;
    const [y, mean, rstd] = group.outputs;
    const { rows, n } = rowsOf(x.dims);
    ctx.scratch(n * 12);
    ctx.command(
      NORM,
      [
        ctx.pointer(x),
        ctx.pointer(y!),
        weight ? ctx.pointer(weight) : NONE,
        bias ? ctx.pointer(bias) : NONE,
        ctx.pointer(mean!),
        ctx.pointer(rstd!),
        rows,
        n,
        f32Word(eps),
        DTYPE_IDS[x.dtype],
        weight ? DTYPE_IDS[weight.dtype] : NONE,
        bias ? DTYPE_IDS[bias.dtype] : NONE,
      ],
      chunksOf(rows * n, GRAIN),
    );
  },
};

export const rmsNormKernel: Kernel = {
  supports,
  inPlace: 0,
  emit(group, ctx) {
    const { eps } = group.arg as { eps: number };
    const x = operandAt(group, 0);
    const weight = operandAt(group, 1);
    const [y, rstd] = group.outputs;
    const { rows, n } = rowsOf(x.dims);
    ctx.scratch(n * 12);
    ctx.command(
      NORM,
      [
        ctx.pointer(x),
        ctx.pointer(y!),
        ctx.pointer(weight),
        NONE,
        NONE,
        ctx.pointer(rstd!),
        rows,
        n,
        f32Word(eps),
        DTYPE_IDS[x.dtype],
        DTYPE_IDS[weight.dtype],
        NONE,
      ],
      chunksOf(rows * n, GRAIN),
    );
  },
};

/** Emits the gradient for x; the operands are x, [weight], [mean], rstd, dy. */
const backward =
  (affineOf: (arg: unknown) => boolean, centred: boolean): Kernel["emit"] =>
  (group, ctx) => {
    const operands = group.inputs.map((_, i) => operandAt(group, i));
    const x = operands.shift()!;
    const weight = affineOf(group.arg) ? operands.shift()! : null;
    const mean = centred ? operands.shift()! : null;
    const [rstd, dy] = operands;
    const { rows, n } = rowsOf(x.dims);
    ctx.scratch(n * 12);
    ctx.command(
      NORM_BACKWARD,
      [
        ctx.pointer(x),
        ctx.pointer(dy!),
        ctx.pointer(group.outputs[0]!),
        weight ? ctx.pointer(weight) : NONE,
        mean ? ctx.pointer(mean) : NONE,
        ctx.pointer(rstd!),
        rows,
        n,
        DTYPE_IDS[x.dtype],
        weight ? DTYPE_IDS[weight.dtype] : NONE,
      ],
      chunksOf(rows * n, GRAIN),
    );
  };

export const layerNormBackwardKernel: Kernel = {
  supports,
  emit: backward((arg) => (arg as { affine: boolean }).affine, true),
};

export const rmsNormBackwardKernel: Kernel = {
  supports,
  inPlace: 3,
  emit: backward(() => true, false),
};
