import { type Kernel, operandAt } from "../emit.js";
import type { Shader } from "../shader.js";
import { classOf, scalarType } from "../wgsl/registers.js";
import { loadOne } from "../wgsl/storage.js";
import { emitElements, ZERO } from "./elements.js";

interface Window {
  readonly kernel: readonly [number, number];
  readonly stride: readonly [number, number];
  readonly padding: readonly [readonly [number, number], readonly [number, number]];
  readonly dilation: readonly [number, number];
}

/** Numbers of a window as parameters of a shader, for height and width. */
function params(s: Shader, w: Window, size: readonly number[], count: readonly number[]) {
  const both = (of: (a: 0 | 1) => number) => [s.param(of(0)), s.param(of(1))] as const;
  return {
    size: both((a) => size[a]!),
    count: both((a) => count[a]!),
    kernel: both((a) => w.kernel[a]),
    stride: both((a) => w.stride[a]),
    before: both((a) => w.padding[a][0]),
    dilation: both((a) => w.dilation[a]),
  };
}

const windows = (size: readonly number[], w: Window): number[] =>
  ([0, 1] as const).map((a) => {
    const room = size[a]! + w.padding[a][0] + w.padding[a][1];
    return Math.floor((room - w.dilation[a] * (w.kernel[a] - 1) - 1) / w.stride[a]) + 1;
  });

/** Patches of images as columns: y[n, c, ky kw + kx, oy OW + ox]. */
export const im2colKernel: Kernel = {
  emit(group, ctx) {
    const [x, y] = [operandAt(group, 0), group.outputs[0]!];
    const arg = group.arg as Window & { fill: 0 | "-inf" };
    const size = x.dims.slice(2);
    emitElements("im2col", y, ctx, (s) => {
      const p = params(s, arg, size, windows(size, arg));
      const outside = arg.fill === 0 ? ZERO[classOf(x.dtype)] : "-inf().x";
      return `  let ox = i % ${p.count[1]};
  let r1 = i / ${p.count[1]};
  let oy = r1 % ${p.count[0]};
  let r2 = r1 / ${p.count[0]};
  let kx = r2 % ${p.kernel[1]};
  let r3 = r2 / ${p.kernel[1]};
  let ky = r3 % ${p.kernel[0]};
  let c = r3 / ${p.kernel[0]};
  let y = oy * ${p.stride[0]} + ky * ${p.dilation[0]} - ${p.before[0]};
  let x = ox * ${p.stride[1]} + kx * ${p.dilation[1]} - ${p.before[1]};
  if (y >= ${p.size[0]} || x >= ${p.size[1]}) { return ${outside}; }
  return ${loadOne(x.dtype, s.bind(x), `(c * ${p.size[0]} + y) * ${p.size[1]} + x`)};`;
    });
  },
};

/** The transpose of im2col: every pixel adds up the columns that it went to, in the order of the kernel's places. */
export const col2imKernel: Kernel = {
  emit(group, ctx) {
    const [columns, y] = [operandAt(group, 0), group.outputs[0]!];
    const arg = group.arg as Window & { size: readonly [number, number] };
    const type = scalarType(y.dtype);
    emitElements("col2im", y, ctx, (s) => {
      const p = params(s, arg, arg.size, windows(arg.size, arg));
      const at = `(((c * ${p.kernel[0]} + ky) * ${p.kernel[1]} + kx) * ${p.count[0]} + ty / ${p.stride[0]}) * ${p.count[1]} + tx / ${p.stride[1]}`;
      return `  let px = i % ${p.size[1]} + ${p.before[1]};
  let q = i / ${p.size[1]};
  let py = q % ${p.size[0]} + ${p.before[0]};
  let c = q / ${p.size[0]};
  var sum = ${type}(0);
  for (var ky = 0u; ky < ${p.kernel[0]}; ky++) {
    let ty = py - ky * ${p.dilation[0]};
    if (ty % ${p.stride[0]} != 0u || ty / ${p.stride[0]} >= ${p.count[0]}) { continue; }
    for (var kx = 0u; kx < ${p.kernel[1]}; kx++) {
      let tx = px - kx * ${p.dilation[1]};
      if (tx % ${p.stride[1]} != 0u || tx / ${p.stride[1]} >= ${p.count[1]}) { continue; }
      sum += ${loadOne(columns.dtype, s.bind(columns), at)};
    }
  }
  return sum;`;
    });
  },
};
