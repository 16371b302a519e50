import type { LayerKind } from "@lowrank/nn";
import { matmul, type Tensor } from "@lowrank/tensor";
import type { Target } from "./adapter.js";

/** Layers that are convolutions. */
export const CONVOLUTIONS: readonly LayerKind[] = ["conv1d", "conv2d"];

/** Ones to fill a shape up to the dimensions of a convolution's weight, or of its result without the batch. */
const ones = ({ filter }: Target): number[] => filter?.kernel.map(() => 1) ?? [];

/** A parameter with a row for each filter as a matrix: [rows, channels, ...kernel] to [rows, channels · kernel]. */
export const asMatrix = (p: Tensor): Tensor => (p.ndim === 2 ? p : p.reshape([p.shape[0]!, -1]));

/** Shape of rows that stand in place of the layer's weight: [rows, in], for a convolution [rows, channels, ...kernel]. */
export const rowsShape = (rows: number, { inFeatures, filter }: Target): number[] =>
  filter === undefined ? [rows, inFeatures] : [rows, filter.channels, ...filter.kernel];

/** Shape of a matrix that mixes features, [out, rank]; for a convolution that of a kernel of 1. */
export const mixShape = (out: number, rank: number, target: Target): number[] => [out, rank, ...ones(target)];

/** B [out, rank] on the features of y: y Bᵀ for y [..., rank], for a convolution on the channels of y [N, rank, ...]. */
export function mix(y: Tensor, B: Tensor, { filter }: Target): Tensor {
  const matrix = asMatrix(B);
  if (filter === undefined) return matmul(y, matrix.T);
  const [batch, rank, ...places] = y.shape as [number, number, ...number[]];
  return matmul(matrix, y.reshape([batch, rank, -1])).reshape([batch, matrix.shape[0]!, ...places]);
}

/** v [out] so that it stands beside the features of a layer's result. */
export const beside = (v: Tensor, target: Target): Tensor => v.reshape([-1, ...ones(target)]);

/** Shape of n numbers along the channels of a convolution's input or result, [1, n, 1, 1]; undefined for another layer. */
export const channelShape = (n: number, target: Target): number[] | undefined =>
  target.filter && [1, n, ...ones(target)];

/** Whether a layer is a convolution that sees more than one place. */
export const hasKernel = ({ filter }: Target): boolean => filter?.kernel.some((n) => n > 1) ?? false;

/**
 * A convolution's weight from a core between its channels, as a matrix [out, channels · kernel]:
 *
 *     W[o, c, ...] = Σ_ab T[a, b, ...] up[o, a] down[c, b]
 *
 * T is [r, r, ...kernel], up [out, r], down [channels, r]. Source: Hyeon-Woo et al. 2022, arXiv:2108.06098, proposition 3.
 */
export function fromCore(T: Tensor, up: Tensor, down: Tensor): Tensor {
  const [r, channels] = [T.shape[0]!, down.shape[0]!];
  const core = T.reshape([r, r, -1]).permute([1, 0, 2]).reshape([r, -1]);
  const wide = matmul(down, core).reshape([channels, r, -1]).permute([1, 0, 2]).reshape([r, -1]);
  return matmul(up, wide);
}
