import {
  type DType,
  defaultBackend,
  evaluate,
  key,
  matmul,
  normal,
  quantizedMatmul,
  scalar,
  type Tensor,
  zeros,
} from "@lowrank/tensor";
import type { PlanWork, WorkItem } from "./dry-run.js";

/** How fast the backend in use is on this machine, now. */
export interface MachineSpeed {
  /** Products of matrices of many rows, operations per second. */
  readonly matmulFlops: number;
  /** The same where the weight is in codes. */
  readonly codedFlops: number;
  /** Products with one row: bytes of the weight per second. */
  readonly matvecBytes: number;
  /** Products with one row where the weight is in codes of 4 bits: bytes of codes and scales per second. */
  readonly codedBytes: number;
  /** Everything else: bytes read and written per second. */
  readonly memoryBytes: number;
}

/** Rows from which a product is bound by arithmetic. */
const MANY_ROWS = 8;
const REPEATS = 5;

/**
 * Measures the backend in use with a few products of the sizes of a small language model: about a second.
 *
 * A machine that is busy with other work is slower, and is measured so.
 */
export async function measureSpeed(): Promise<MachineSpeed> {
  await defaultBackend();
  const [width, inner] = [1024, 3072];
  const weight = await made(normal([inner, width], { key: key(1), std: 0.02 }));
  const codes = await made(zeros([inner, width / 2], { dtype: "u8" }));
  const scales = await made(zeros([inner, width / 32], { dtype: "f16" }));
  const one = await made(normal([1, width], { key: key(2) }));
  const many = await made(normal([256, width], { key: key(3) }));
  const wide = await made(normal([256, inner], { key: key(4) }));
  const format = { bits: 4, groupSize: 32 } as const;
  const flops = 2 * 256 * width * inner;
  const dense = await seconds((s) => matmul(many.mul(s), weight.T));
  const coded = await seconds((s) => quantizedMatmul(many.mul(s), codes, scales, format));
  const vector = await seconds((s) => matmul(one.mul(s), weight.T));
  const codedVector = await seconds((s) => quantizedMatmul(one.mul(s), codes, scales, format));
  const loop = await seconds((s) => wide.mul(s).add(1));
  for (const t of [weight, codes, scales, one, many, wide]) t.dispose();
  return {
    matmulFlops: flops / dense,
    codedFlops: flops / coded,
    matvecBytes: (4 * inner * width) / vector,
    codedBytes: (inner * width * (1 / 2 + 2 / 32)) / codedVector,
    memoryBytes: (2 * 4 * 256 * inner) / loop,
  };
}

async function made(t: Tensor): Promise<Tensor> {
  await evaluate(t);
  return t;
}

/** Median of a few runs; the scalar makes each a new computation of the same plan. */
async function seconds(product: (s: Tensor) => Tensor): Promise<number> {
  const times: number[] = [];
  for (let i = 0; i <= REPEATS; i++) {
    const y = product(scalar(1 + i, { dtype: "f32" as DType }));
    const began = performance.now();
    await evaluate(y);
    if (i > 0) times.push((performance.now() - began) / 1000); // the first makes the plan
    y.dispose();
  }
  return times.sort((a, b) => a - b)[REPEATS >> 1]!;
}

/** Seconds that runs of plans take at a speed, each group bound by arithmetic or by memory; what the host adds is not in it. */
export function secondsOf(runs: readonly PlanWork[], speed: MachineSpeed): number {
  const itemSeconds = ({ kind, flops, bytes, rows }: WorkItem): number => {
    if (kind === "other") return bytes / speed.memoryBytes;
    if (kind === "attention") return flops / speed.matmulFlops + bytes / speed.memoryBytes;
    const coded = kind === "quantizedMatmul";
    if (rows < MANY_ROWS) return (rows * bytes) / (coded ? speed.codedBytes : speed.matvecBytes);
    return flops / (coded ? speed.codedFlops : speed.matmulFlops);
  };
  return runs.reduce((sum, { items }) => sum + items.reduce((s, item) => s + itemSeconds(item), 0), 0);
}
