import { type Kernel, operandAt } from "../emit.js";
import { loadOne } from "../wgsl/storage.js";
import { isGpuFloat, RowShader, rowsFit } from "./rows.js";

/** loss = lse - logits[label], lse = log Σ exp(logits), by rows. */
export const crossEntropyKernel: Kernel = {
  supports: ({ inputs }) => isGpuFloat(inputs[0]!.dtype) && inputs[0]!.dims[1]! > 0,
  emit(group, ctx) {
    const { ignoreIndex } = group.arg as { ignoreIndex: number };
    const [logits, labels] = [operandAt(group, 0), operandAt(group, 1)];
    if (logits.value.size === 0) return;
    const r = new RowShader("crossEntropy", logits.dims, ctx);
    const { shader } = r;
    const ignored = `bitcast<i32>(${shader.param(ignoreIndex)})`;
    const one = shader.width === 4 ? ".x" : "";
    const label = loadOne("i32", shader.bind(labels), "group");
    const number = r.keep(r.load(logits));
    r.emit(`  var m = -inf();
${r.each(`${number.keep} m = max(m, ${number.value});`)}
  let top = ${r.max("m")};
  let shift = shift_of(top);
  var s = F(0.0);
${r.each(`s += exp_(${number.value} - F(shift));`)}
  let lse = log_(F(${r.sum("s")}))${one} + shift;
  let label = ${label};
  var loss = lse - ${loadOne(logits.dtype, shader.bind(logits), `group * ${r.n} + u32(clamp(label, 0, i32(${r.n}) - 1))`)};
  if (label < 0 || label >= i32(${r.n})) { loss = nan()${one}; }
  if (label == ${ignored}) { loss = 0.0; }
${r.storeRow(group.outputs[0]!, "loss")}
${r.storeRow(group.outputs[1]!, "lse")}`);
  },
};

/** dlogits = (exp(logits - lse) - [v = label]) dy, 0 for ignored rows. */
export const crossEntropyBackwardKernel: Kernel = {
  supports: ({ inputs: [logits] }) => isGpuFloat(logits!.dtype) && rowsFit(logits!.dtype, logits!.dims[1]!),
  inPlace: 0,
  emit(group, ctx) {
    const { ignoreIndex } = group.arg as { ignoreIndex: number };
    const [logits, labels, lse, dy] = [0, 1, 2, 3].map((i) => operandAt(group, i));
    if (logits!.value.size === 0) return;
    const r = new RowShader("crossEntropyBackward", logits!.dims, ctx);
    const { shader } = r;
    const ignored = `bitcast<i32>(${shader.param(ignoreIndex)})`;
    const label = loadOne("i32", shader.bind(labels!), "group");
    const place = shader.width === 4 ? "vec4<u32>(k) + vec4<u32>(0u, 1u, 2u, 3u)" : "k";
    const p = `exp_(${r.load(logits!)} - F(shift))`;
    const value = `select((${p} - select(F(0.0), F(1.0), (${place}) == U(bitcast<u32>(label)))) * F(dy), F(0.0), label == ${ignored})`;
    r.emit(`  let label = ${label};
  let shift = shift_of(${r.row(lse!)});
  let dy = ${r.row(dy!)};
${r.each(r.store(group.outputs[0]!, value))}`);
  },
};
