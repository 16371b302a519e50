import { type Kernel, operandAt } from "../emit.js";
import { RowShader, supportsRows } from "./rows.js";

/** y = exp(x - max x) / Σ exp(x - max x) along the last axis; a row of only -∞ gives zeros. */
export const softmaxKernel: Kernel = {
  supports: supportsRows,
  inPlace: 0,
  emit(group, ctx) {
    const x = operandAt(group, 0);
    if (x.value.size === 0) return;
    const r = new RowShader("softmax", x.dims, ctx);
    const f = r.shader.functions;
    f.math.add("inf");
    const e = f.call("exp_", `${r.load(x)} - F(shift)`);
    r.emit(`  var m = -inf();
${r.each(`m = max(m, ${r.load(x)});`)}
  let top = ${r.max("m")};
  let shift = select(top, 0.0, bitcast<u32>(top) == 0xff800000u);
  var s = F(0.0);
${r.each(`s += ${e};`)}
  let total = ${r.sum("s")};
  let scale = 1.0 / select(1.0, total, total != 0.0);
${r.each(r.store(group.outputs[0]!, `${e} * F(scale)`))}`);
  },
};

/** dx = y (dy - Σ y dy). */
export const softmaxBackwardKernel: Kernel = {
  supports: supportsRows,
  inPlace: 1,
  emit(group, ctx) {
    const [y, dy] = [operandAt(group, 0), operandAt(group, 1)];
    if (y.value.size === 0) return;
    const r = new RowShader("softmaxBackward", y.dims, ctx);
    r.emit(`  var s = F(0.0);
${r.each(`s += ${r.load(y)} * ${r.load(dy)};`)}
  let total = F(${r.sum("s")});
${r.each(r.store(group.outputs[0]!, `${r.load(y)} * (${r.load(dy)} - total)`))}`);
  },
};
