import { type Kernel, operandAt } from "../emit.js";
import { RowShader, supportsRows } from "./rows.js";

/** y = (x - μ) r weight + bias, μ and r kept. The variance is taken over x - μ. */
export const layerNormKernel: Kernel = {
  supports: supportsRows,
  emit(group, ctx) {
    const { eps, affine } = group.arg as { eps: number; affine: boolean };
    const x = operandAt(group, 0);
    if (x.value.size === 0) return;
    const r = new RowShader("layerNorm", x.dims, ctx);
    const e = r.shader.float(eps);
    const size = `f32(${r.n})`;
    const number = r.keep(r.load(x));
    const unit = `(${number.value} - F(mean)) * F(root)`;
    const y = affine ? `${unit} * ${r.shared(operandAt(group, 1))} + ${r.shared(operandAt(group, 2))}` : unit;
    r.emit(`  var s = F(0.0);
${r.each(`${number.keep} s += ${number.value};`)}
  let mean = ${r.sum("s")} / ${size};
  var v = F(0.0);
${r.each(`let d = ${number.value} - F(mean); v += d * d;`)}
  let root = 1.0 / sqrt(${r.sum("v")} / ${size} + ${e});
${r.each(r.store(group.outputs[0]!, y))}
${r.storeRow(group.outputs[1]!, "mean")}
${r.storeRow(group.outputs[2]!, "root")}`);
  },
};

/** y = x r weight, r kept. */
export const rmsNormKernel: Kernel = {
  supports: supportsRows,
  emit(group, ctx) {
    const { eps } = group.arg as { eps: number };
    const [x, weight] = [operandAt(group, 0), operandAt(group, 1)];
    if (x.value.size === 0) return;
    const r = new RowShader("rmsNorm", x.dims, ctx);
    const e = r.shader.float(eps);
    const number = r.keep(r.load(x));
    r.emit(`  var s = F(0.0);
${r.each(`${number.keep} s += ${number.value} * ${number.value};`)}
  let root = 1.0 / sqrt(${r.sum("s")} / f32(${r.n}) + ${e});
${r.each(r.store(group.outputs[0]!, `${number.value} * F(root) * ${r.shared(weight)}`))}
${r.storeRow(group.outputs[1]!, "root")}`);
  },
};

/** dx = r (g - mean g - x̂ mean(g x̂)), x̂ = (x - μ) r, g = dy weight; without μ (and mean g) for RMS. */
const backward =
  (affineOf: (arg: unknown) => boolean, centred: boolean): Kernel["emit"] =>
  (group, ctx) => {
    const operands = group.inputs.map((_, i) => operandAt(group, i));
    const x = operands.shift()!;
    if (x.value.size === 0) return;
    const weight = affineOf(group.arg) ? operands.shift()! : null;
    const mean = centred ? operands.shift()! : null;
    const [root, dy] = operands;
    const r = new RowShader(group.name, x.dims, ctx);
    const unit = r.keep(mean ? `(${r.load(x)} - mean) * root` : `${r.load(x)} * root`);
    const g = r.keep(weight ? `${r.load(dy!)} * ${r.shared(weight)}` : r.load(dy!));
    r.emit(`  let root = F(${r.row(root!)});
${mean ? `  let mean = F(${r.row(mean)});` : ""}
  var p = F(0.0);
  var q = F(0.0);
${r.each(`${g.keep} ${unit.keep} p += ${g.value} * ${unit.value};${centred ? ` q += ${g.value};` : ""}`)}
  let along = F(${r.sum("p")} / f32(${r.n}));
${centred ? `  let level = F(${r.sum("q")} / f32(${r.n}));` : ""}
${r.each(r.store(group.outputs[0]!, `root * (${g.value}${centred ? " - level" : ""} - ${unit.value} * along)`))}`);
  };

export const layerNormBackwardKernel: Kernel = {
  supports: supportsRows,
  emit: backward((arg) => (arg as { affine: boolean }).affine, true),
};

export const rmsNormBackwardKernel: Kernel = {
  supports: supportsRows,
  emit: backward(() => true, false),
};
