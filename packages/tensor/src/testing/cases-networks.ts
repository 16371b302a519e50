import type { OpDef } from "../op.js";
import * as attention from "../ops/attention.js";
import * as conv from "../ops/conv.js";
import { scalar } from "../ops/create.js";
import * as crossEntropy from "../ops/cross-entropy.js";
import * as norm from "../ops/norm.js";
import * as quantized from "../ops/quantized-matmul.js";
import * as rope from "../ops/rope.js";
import * as softmax from "../ops/softmax.js";
import { apply, applyMulti, type Tensor } from "../tensor.js";
import { entry, FLOATS, type OpEntry } from "./cases-elementwise.js";
import type { Drawer } from "./drawer.js";

/** Statistics of halves are kept in f32. */
const wide = (d: Drawer) => (d.dtype === "f64" ? ("f64" as const) : ("f32" as const));

/** At least one element along the last axis. */
function rows(d: Drawer, minRank = 1, maxRank = 3): number[] {
  const dims = d.dims(minRank, maxRank);
  dims[dims.length - 1] = Math.max(d.smooth ? 2 : 1, dims[dims.length - 1]!);
  return dims;
}

const softmaxCases: readonly OpEntry[] = [
  entry(softmax.softmaxOp, FLOATS, true, (d) => {
    d.input(rows(d), { domain: d.rng.chance(0.2) ? [-90, 90] : [-4, 4] });
    return d.case("softmax", ([x]) => apply(softmax.softmaxOp, [x!], null), { rtol: 4e-6, atol: 1e-7 });
  }),
  entry(softmax.softmaxBackwardOp, FLOATS, true, (d) => {
    const dims = rows(d);
    d.input(dims, { domain: [0, 1] });
    d.input(dims);
    const build = (inputs: readonly Tensor[]) => apply(softmax.softmaxBackwardOp, inputs, null);
    return d.case("softmaxBackward", build, { rtol: 4e-6, terms: 8 + dims[dims.length - 1]!, scale: 6 });
  }),
];

const normCases: readonly OpEntry[] = [
  entry(norm.layerNormOp, FLOATS, true, (d) => {
    const dims = rows(d);
    const affine = d.rng.chance(0.6);
    d.input(dims);
    if (affine) for (let i = 0; i < 2; i++) d.input(dims.slice(-1));
    // For differences the curvature at a small variance is damped.
    const arg = { eps: d.smooth ? 0.1 : 1e-5, affine };
    const build = (inputs: readonly Tensor[]) => applyMulti(norm.layerNormOp, inputs, arg);
    // One number per row: the variance is 0 and eps alone is left, so cancellation shows.
    const lone = dims[dims.length - 1]! <= 2;
    return d.case(`layerNorm ${JSON.stringify(arg)}`, build, { rtol: 1e-5, atol: lone ? 2e-2 : 2e-5 });
  }),
  entry(norm.layerNormBackwardOp, FLOATS, true, (d) => {
    const dims = rows(d);
    const affine = d.rng.chance(0.6);
    d.input(dims);
    if (affine) d.input(dims.slice(-1));
    d.input(dims.slice(0, -1), { dtype: wide(d), domain: [-0.5, 0.5] });
    d.input(dims.slice(0, -1), { dtype: wide(d), domain: [0.3, 1.5] });
    d.input(dims);
    const build = (inputs: readonly Tensor[]) => apply(norm.layerNormBackwardOp, inputs, { affine });
    return d.case(`layerNormBackward ${affine ? "with" : "without"} weight`, build, {
      rtol: 1e-5,
      atol: 1e-4,
    });
  }),
  entry(norm.rmsNormOp, FLOATS, true, (d) => {
    const dims = rows(d);
    d.input(dims);
    d.input(dims.slice(-1));
    const build = (inputs: readonly Tensor[]) => applyMulti(norm.rmsNormOp, inputs, { eps: 1e-6 });
    return d.case("rmsNorm", build, { rtol: 1e-5, atol: 1e-6 });
  }),
  entry(norm.rmsNormBackwardOp, FLOATS, true, (d) => {
    const dims = rows(d);
    d.input(dims);
    d.input(dims.slice(-1));
    d.input(dims.slice(0, -1), { dtype: wide(d), domain: [0.3, 1.5] });
    d.input(dims);
    const build = (inputs: readonly Tensor[]) => apply(norm.rmsNormBackwardOp, inputs, null);
    return d.case("rmsNormBackward", build, { rtol: 1e-5, atol: 1e-4 });
  }),
];

/** Labels below v; some ignored, unless differences are taken. */
function logitsAndLabels(d: Drawer): { n: number; v: number } {
  const [n, v] = [d.smooth ? 3 : d.rng.int(0, 20), d.smooth ? 4 : d.rng.int(1, 70)];
  d.input([n, v], { domain: [-4, 4] });
  d.input([n], { dtype: "i32", domain: [d.rng.chance(0.4) ? -1 : 0, v - 1] });
  return { n, v };
}

const crossEntropyCases: readonly OpEntry[] = [
  entry(crossEntropy.crossEntropyOp, FLOATS, true, (d) => {
    logitsAndLabels(d);
    const build = (inputs: readonly Tensor[]) =>
      applyMulti(crossEntropy.crossEntropyOp, inputs, { ignoreIndex: -1 });
    return d.case("crossEntropy", build, { rtol: 4e-6, atol: 4e-6 });
  }),
  entry(crossEntropy.crossEntropyBackwardOp, FLOATS, true, (d) => {
    const { n } = logitsAndLabels(d);
    d.input([n], { dtype: wide(d), domain: [3, 5] });
    d.input([n], { dtype: wide(d) });
    const build = (inputs: readonly Tensor[]) =>
      apply(crossEntropy.crossEntropyBackwardOp, inputs, { ignoreIndex: -1 });
    return d.case("crossEntropyBackward", build, { rtol: 1e-5, atol: 1e-6 });
  }),
];

const ropeCase = entry(rope.ropeOp, FLOATS, true, (d) => {
  const { rng } = d;
  const [b, t, h] = [rng.int(1, 2), d.smooth ? 2 : rng.int(1, 9), rng.int(1, 3)];
  const half = d.smooth ? 2 : rng.pick([1, 2, 4, 8, 16]);
  const arg = { interleaved: rng.chance(0.5), inverse: rng.chance(0.5) };
  d.input([b, t, h, 2 * half]);
  d.input([rng.chance(0.5) ? 1 : b, t], { dtype: "i32", domain: [0, 40] });
  d.input([half], { dtype: wide(d), domain: [0.01, 1] });
  const build = (inputs: readonly Tensor[]) => apply(rope.ropeOp, inputs, arg);
  return d.case(`rope ${JSON.stringify(arg)}`, build, { rtol: 1e-5, atol: 3e-5 });
});

interface AttentionShape {
  arg: attention.AttentionArg;
  offset: number;
  out: number[];
  stat: number[];
}

function attentionInputs(d: Drawer): AttentionShape {
  const { rng } = d;
  const size = (most: number) => (d.smooth ? rng.int(1, 3) : rng.int(1, most));
  const [b, t, s, hk, g, width, dv] = [
    rng.int(1, 2),
    size(20),
    size(20),
    rng.int(1, 2),
    rng.int(1, 2),
    size(17),
    size(9),
  ];
  const h = hk! * g!;
  const arg = { scale: 0.5, causal: rng.chance(0.5), mask: rng.chance(0.4) };
  d.input([b!, t!, h, width!], { domain: [-2, 2] });
  d.input([b!, s!, hk!, width!], { domain: [-2, 2] });
  d.input([b!, s!, hk!, dv!], { domain: [-2, 2] });
  if (arg.mask) d.input([b!, h, t!, s!], { dtype: "bool" });
  return { arg, offset: rng.int(-1, 3), out: [b!, t!, h, dv!], stat: [b!, h, t!] };
}

const withOffset = (inputs: readonly Tensor[], offset: number): Tensor[] => [
  ...inputs.slice(0, 3),
  scalar(offset, { dtype: "i32" }),
  ...inputs.slice(3),
];

const attentionCases: readonly OpEntry[] = [
  entry(attention.attentionOp, FLOATS, true, (d) => {
    const { arg, offset } = attentionInputs(d);
    const build = (inputs: readonly Tensor[]) => {
      const [o, lse] = applyMulti(attention.attentionOp, withOffset(inputs, offset), arg);
      // The log of a row that sees nothing is -∞, which has no difference.
      return d.smooth ? [o!] : [o!, lse!];
    };
    return d.case(`attention ${JSON.stringify({ ...arg, offset })}`, build, { rtol: 2e-5, atol: 1e-5 });
  }),
  entry(attention.attentionBackwardOp, FLOATS, true, (d) => {
    const { arg, offset, out, stat } = attentionInputs(d);
    d.input(out);
    d.input(stat, { dtype: wide(d), domain: [3, 5] });
    d.input(out);
    const build = (inputs: readonly Tensor[]) =>
      applyMulti(attention.attentionBackwardOp, withOffset(inputs, offset), arg);
    return d.case(`attentionBackward ${JSON.stringify({ ...arg, offset })}`, build, {
      rtol: 2e-5,
      atol: 2e-4,
    });
  }),
];

function window(d: Drawer): { size: [number, number]; arg: conv.Window } {
  const { rng } = d;
  const pair = (low: number, high: number): [number, number] => [rng.int(low, high), rng.int(low, high)];
  const [kernel, dilation] = [pair(1, 3), pair(1, 2)];
  const padding = [pair(0, 2), pair(0, 2)] as const;
  const size = ([0, 1] as const).map((a) => {
    const reach = dilation[a] * (kernel[a] - 1) + 1;
    return Math.max(1, reach - padding[a][0] - padding[a][1]) + rng.int(0, d.smooth ? 1 : 8);
  });
  return { size: [size[0]!, size[1]!], arg: { kernel, stride: pair(1, 3), padding, dilation } };
}

const convCases: readonly OpEntry[] = [
  entry(conv.im2colOp, FLOATS, true, (d) => {
    const { size, arg } = window(d);
    const fill = d.smooth || d.rng.chance(0.5) ? (0 as const) : ("-inf" as const);
    d.input([d.rng.int(1, 2), d.rng.int(1, 3), ...size]);
    return d.case(`im2col ${JSON.stringify({ ...arg, fill })}`, ([x]) =>
      apply(conv.im2colOp, [x!], { ...arg, fill }),
    );
  }),
  entry(conv.col2imOp, FLOATS, true, (d) => {
    const { size, arg } = window(d);
    const [oh, ow] = conv.windowCounts("col2im", size, arg);
    const taps = arg.kernel[0] * arg.kernel[1];
    d.input([d.rng.int(1, 2), d.rng.int(1, 3), taps, oh * ow]);
    const build = ([x]: readonly Tensor[]) =>
      apply(conv.col2imOp as OpDef<conv.Col2imArg>, [x!], { ...arg, size });
    return d.case(`col2im ${JSON.stringify({ ...arg, size })}`, build, { terms: taps, scale: 3 });
  }),
];

const quantizedCase = entry(quantized.quantizedMatmulOp, FLOATS, true, (d) => {
  const { rng } = d;
  const bits = rng.pick([8, 4] as const);
  const activations = d.smooth ? "f32" : rng.pick(["f32", "f32", "int16", "int8"] as const);
  const groupSize =
    activations === "f32" ? rng.pick(d.smooth ? [2, 8] : [2, 6, 8, 24, 32, 64, 96]) : 32 * rng.int(1, 3);
  const groups = groupSize % 8 ? 1 : rng.int(1, 3);
  const [rows, out] = [d.smooth ? 2 : rng.pick([0, 1, 2, 3, 5, 9, 20]), d.smooth ? 3 : rng.int(1, 40)];
  const columns = groups * groupSize;
  const transposed = activations === "f32" && rng.chance(0.4);
  // Small integers are far from where rounding to steps changes its mind.
  d.input([rows, transposed ? out : columns], { integers: activations !== "f32" });
  if (bits === 8) d.input([out, columns], { dtype: "i8", domain: [-128, 127] });
  else d.input([out, columns / 2], { dtype: "u8", domain: [0, 255] });
  const inner = transposed ? out : columns;
  for (let parts = rng.int(1, 2); parts > 0; parts--) {
    d.input([out, groups], {
      dtype: d.smooth ? d.dtype : rng.pick(["f32", "f16", "bf16"] as const),
      domain: [-0.1, 0.1],
    });
  }
  const arg = { bits, groupSize, activations, transposed };
  const build = (inputs: readonly Tensor[]) => apply(quantized.quantizedMatmulOp, inputs, arg);
  return d.case(`quantizedMatmul ${JSON.stringify(arg)}`, build, { rtol: 1e-5, terms: inner + 8, scale: 40 });
});

/** Cases of the ops that networks are made of. */
export const networkCases = (): readonly OpEntry[] => [
  ...softmaxCases,
  ...normCases,
  ...crossEntropyCases,
  quantizedCase,
  ropeCase,
  ...attentionCases,
  ...convCases,
];
