// The kernels of composites and primitives beside matmul, ids from 64 up.
import { attentionForward } from "./attention";
import { attentionBackward, sumParts } from "./attention-backward";
import { copyStrided, fillZero } from "./copy";
import { crossEntropyBackwardRows, crossEntropyRows } from "./cross-entropy";
import { scatterAdd, scatterAddAlongAxis, take, takeAlongAxis } from "./gather";
import * as ids from "./ids";
import { col2im, im2col } from "./im2col";
import { normBackwardRows, normRows } from "./norm";
import { quantizedPack } from "./quantized-pack";
import { quantizedPrepare } from "./quantized-rows";
import { quantizedThin } from "./quantized-thin";
import { rope } from "./rope";
import { cumsum } from "./scan";
import { softmaxBackwardRows, softmaxRows } from "./softmax";
import { argExtreme, sortRows } from "./sort";
import { updateSlice } from "./update-slice";

export function runKernel(kernel: i32, args: usize, chunk: i32, chunks: i32, scratch: usize): void {
  switch (kernel) {
    case ids.SOFTMAX:
      return softmaxRows(args, chunk, chunks, scratch);
    case ids.SOFTMAX_BACKWARD:
      return softmaxBackwardRows(args, chunk, chunks, scratch);
    case ids.NORM:
      return normRows(args, chunk, chunks, scratch);
    case ids.NORM_BACKWARD:
      return normBackwardRows(args, chunk, chunks, scratch);
    case ids.CROSS_ENTROPY:
      return crossEntropyRows(args, chunk, chunks, scratch);
    case ids.CROSS_ENTROPY_BACKWARD:
      return crossEntropyBackwardRows(args, chunk, chunks, scratch);
    case ids.ATTENTION:
      return attentionForward(args, chunk, chunks, scratch);
    case ids.ATTENTION_BACKWARD:
      return attentionBackward(args, chunk, chunks, scratch);
    case ids.ROPE:
      return rope(args, chunk, chunks, scratch);
    case ids.TAKE:
      return take(args, chunk, chunks, scratch);
    case ids.SCATTER_ADD:
      return scatterAdd(args, chunk, chunks, scratch);
    case ids.TAKE_ALONG_AXIS:
      return takeAlongAxis(args, chunk, chunks, scratch);
    case ids.SCATTER_ADD_ALONG_AXIS:
      return scatterAddAlongAxis(args, chunk, chunks, scratch);
    case ids.COPY_STRIDED:
      return copyStrided(args, chunk, chunks, scratch);
    case ids.FILL_ZERO:
      return fillZero(args, chunk, chunks, scratch);
    case ids.UPDATE_SLICE:
      return updateSlice(args, chunk, chunks, scratch);
    case ids.SORT:
      return sortRows(args, chunk, chunks, scratch);
    case ids.ARG_EXTREME:
      return argExtreme(args, chunk, chunks, scratch);
    case ids.CUMSUM:
      return cumsum(args, chunk, chunks, scratch);
    case ids.IM2COL:
      return im2col(args, chunk, chunks, scratch);
    case ids.COL2IM:
      return col2im(args, chunk, chunks, scratch);
    case ids.SUM_PARTS:
      return sumParts(args, chunk, chunks, scratch);
    case ids.QUANTIZED_PREPARE:
      return quantizedPrepare(args, chunk, chunks, scratch);
    case ids.QUANTIZED_THIN:
      return quantizedThin(args, chunk, chunks, scratch);
    case ids.QUANTIZED_PACK:
      return quantizedPack(args, chunk, chunks, scratch);
    default:
      unreachable();
  }
}
