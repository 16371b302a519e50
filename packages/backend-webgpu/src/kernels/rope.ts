import { type Kernel, operandAt } from "../emit.js";
import { loadOne } from "../wgsl/storage.js";
import { emitElements } from "./elements.js";
import { isGpuFloat } from "./rows.js";

/** Turns the pairs of each head by the angle position · frequency. */
export const ropeKernel: Kernel = {
  supports: ({ inputs }) => isGpuFloat(inputs[0]!.dtype) && isGpuFloat(inputs[2]!.dtype),
  layout: () => "any",
  emit(group, ctx) {
    const { interleaved, inverse } = group.arg as { interleaved: boolean; inverse: boolean };
    const [x, positions, frequencies] = [operandAt(group, 0), operandAt(group, 1), operandAt(group, 2)];
    const y = group.outputs[0]!;
    const [, t, h, d] = x.dims as [number, number, number, number];
    emitElements("rope", y, ctx, (s) => {
      const [T, H, D] = [t, h, d].map((n) => s.param(n));
      const half = s.param(d / 2);
      const [sb, st, sh, sd] = x.strides.map((n) => s.param(n));
      const offset = s.param(x.offset);
      const [pb, pt] = [
        s.param(positions.dims[0] === 1 ? 0 : positions.strides[0]!),
        s.param(positions.strides[1]!),
      ];
      const [po, fo, fs] = [
        s.param(positions.offset),
        s.param(frequencies.offset),
        s.param(frequencies.strides[0]!),
      ];
      const pair = interleaved ? "e / 2u" : `e % ${half}`;
      const other = interleaved ? "e ^ 1u" : `(e + ${half}) % ${D}`;
      const second = interleaved ? "(e & 1u) == 1u" : `e >= ${half}`;
      const at = (e: string) => loadOne(x.dtype, s.bind(x), `row + (${e}) * ${sd}`);
      return `  let e = i % ${D};
  let q = i / ${D};
  let time = (q / ${H}) % ${T};
  let b = q / ${H} / ${T};
  let row = ${offset} + b * ${sb} + time * ${st} + (q % ${H}) * ${sh};
  let p = ${loadOne("i32", s.bind(positions), `${po} + b * ${pb} + time * ${pt}`)};
  let f = ${loadOne(frequencies.dtype, s.bind(frequencies), `${fo} + (${pair}) * ${fs}`)};
  let angle = F(f32(p) * f);
  let c = cos_(angle).x;
  let s = sin_(angle).x${inverse ? " * -1.0" : ""};
  let u = ${at("e")};
  let v = ${at(other)};
  return u * c + select(-v, v, ${second}) * s;`;
    });
  },
};
