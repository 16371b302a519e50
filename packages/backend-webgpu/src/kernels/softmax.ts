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
    const number = r.keep(r.load(x));
    const e = r.keep(`exp_(${number.value} - F(shift))`);
    r.emit(`  var m = -inf();
${r.each(`${number.keep} m = max(m, ${number.value});`)}
  let top = ${r.max("m")};
  let shift = shift_of(top);
  var s = F(0.0);
${r.each(`${e.keep} s += ${e.value};`)}
  let total = ${r.sum("s")};
  let scale = 1.0 / select(1.0, total, total != 0.0);
${r.each(r.store(group.outputs[0]!, `${e.value} * F(scale)`))}`);
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
    const [p, dp] = [r.keep(r.load(y)), r.keep(r.load(dy))];
    r.emit(`  var s = F(0.0);
${r.each(`${p.keep} ${dp.keep} s += ${p.value} * ${dp.value};`)}
  let total = F(${r.sum("s")});
${r.each(r.store(group.outputs[0]!, `${p.value} * (${dp.value} - total)`))}`);
  },
};
