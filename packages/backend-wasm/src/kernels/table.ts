import type { OpDef } from "@lowrank/tensor/backend";
import type { Kernel } from "../emit.js";
import { attentionBackwardKernel, attentionKernel } from "./attention.js";
import { crossEntropyBackwardKernel, crossEntropyKernel } from "./cross-entropy.js";
import { scatterAddAlongAxisKernel, scatterAddKernel, takeAlongAxisKernel, takeKernel } from "./gather.js";
import { col2imKernel, im2colKernel } from "./im2col.js";
import { matmulKernel } from "./matmul.js";
import { concatKernel, padKernel, updateSliceKernel } from "./movement.js";
import { layerNormBackwardKernel, layerNormKernel, rmsNormBackwardKernel, rmsNormKernel } from "./norm.js";
import { quantizedMatmulKernel } from "./quantized-matmul.js";
import { ropeKernel } from "./rope.js";
import { softmaxBackwardKernel, softmaxKernel } from "./softmax.js";
import { argmaxKernel, argminKernel, cumsumKernel, sortKernel, topKKernel } from "./sort.js";

/** The kernel of an op: one of ours, or that which its row brings along. */
export const kernelOf = ({ name, kernels: own }: OpDef): Kernel | undefined =>
  Object.hasOwn(kernels, name) ? kernels[name] : (own?.wasm as Kernel | undefined);

/** The kernels by the name of their op. */
export const kernels: Readonly<Record<string, Kernel>> = {
  argmax: argmaxKernel,
  argmin: argminKernel,
  attention: attentionKernel,
  attentionBackward: attentionBackwardKernel,
  col2im: col2imKernel,
  concat: concatKernel,
  crossEntropy: crossEntropyKernel,
  crossEntropyBackward: crossEntropyBackwardKernel,
  cumsum: cumsumKernel,
  im2col: im2colKernel,
  layerNorm: layerNormKernel,
  layerNormBackward: layerNormBackwardKernel,
  matmul: matmulKernel,
  pad: padKernel,
  quantizedMatmul: quantizedMatmulKernel,
  rmsNorm: rmsNormKernel,
  rmsNormBackward: rmsNormBackwardKernel,
  rope: ropeKernel,
  scatterAdd: scatterAddKernel,
  scatterAddAlongAxis: scatterAddAlongAxisKernel,
  softmax: softmaxKernel,
  softmaxBackward: softmaxBackwardKernel,
  sort: sortKernel,
  take: takeKernel,
  takeAlongAxis: takeAlongAxisKernel,
  topK: topKKernel,
  updateSlice: updateSliceKernel,
};
