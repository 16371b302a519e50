import { dtypeBytes } from "../dtype.js";
import { type Group, type KernelGroup, type LoopGroup, sameHome, type Value } from "../schedule/ir.js";

/** What one run of a group must move and compute. */
export interface Cost {
  /** Bytes read and written if everything that the group touches crosses the memory bus once. */
  readonly bytes: number;
  /** Floating-point operations, a multiply-add counted as two. */
  readonly flops: number;
}

/** Operations per element of a row kernel: shift, exponential, sum and scale of a softmax, and the like of a norm. */
const ROW_FLOPS = 5;
const ROW_KERNELS = /^(softmax|layerNorm|rmsNorm|crossEntropy)/;
/** Kernels that read of input 0 no more than they write. */
const GATHERS: ReadonlySet<string> = /* @__PURE__ */ new Set(["take", "takeAlongAxis"]);

/**
 * The least that a group must do, from its shapes:
 *
 * - bytes: every element that is touched, once. A gather reads as much of its table as it writes; a slice that is
 *   updated in place is read and written alone.
 * - flops: matmul 2·M·N·K; attention 2·P·(D + Dv) for P visible pairs of query and key, its gradient 2·P·(3·D + 2·Dv)
 *   (causal queries counted as the last of the keys, masks as all true); row kernels 5 per element; loops their
 *   instructions and reductions times their elements, whatever the instruction; all other kernels only move numbers.
 */
export function costOf(group: Group): Cost {
  if (group.kind === "loop") return loopCost(group);
  const { epilogue } = group;
  const more = epilogue ? loopCost(epilogue) : { bytes: 0, flops: 0 };
  return { bytes: kernelBytes(group) + more.bytes, flops: kernelFlops(group) + more.flops };
}

const product = (dims: readonly number[]): number => dims.reduce((n, d) => n * d, 1);
/** What is handed to an epilogue crosses no bus. */
const bytesOf = (value: Value, count = value.size): number =>
  value.home.kind === "none" ? 0 : Math.min(count, value.size) * dtypeBytes(value.dtype);
/** Elements of a view that are not repeats of others. */
const distinct = (dims: readonly number[], strides: readonly number[]): number =>
  product(dims.map((n, d) => (strides[d] === 0 ? 1 : n)));

function loopCost({ space, loads, code, stores, reductions }: LoopGroup): Cost {
  const read = new Map<Value, number>();
  for (const load of loads) {
    if (load.kind !== "value") continue;
    read.set(load.value, (read.get(load.value) ?? 0) + distinct(space, load.strides));
  }
  let bytes = 0;
  for (const [value, count] of read) bytes += bytesOf(value, count);
  for (const { value } of [...stores, ...reductions]) bytes += bytesOf(value);
  return { bytes, flops: product(space) * (code.length + reductions.length) };
}

function kernelBytes({ name, inputs, outputs }: KernelGroup): number {
  const read = inputs.map((input) =>
    "value" in input ? bytesOf(input.value, distinct(input.dims, input.strides)) : 0,
  );
  const written = outputs.map((value) => bytesOf(value));
  if (GATHERS.has(name)) read[0] = Math.min(read[0]!, written[0]!);
  const base = inputs[0];
  if (name === "updateSlice" && base && "value" in base && sameHome(base.value, outputs[0]!)) {
    read[0] = 0;
    written[0] = read[1]!;
  }
  return [...read, ...written].reduce((sum, n) => sum + n, 0);
}

function kernelFlops({ name, op, arg, inputs, outputs }: KernelGroup): number {
  const dims = (index: number): readonly number[] => {
    const input = inputs[index];
    return input && "value" in input ? input.dims : [];
  };
  // Of two products that were joined, the operands follow each other.
  const joined = op.name === "matmul" ? (dims(2).at(-1) ?? 0) : 0;
  if (/matmul/i.test(name)) return 2 * outputs[0]!.size * ((dims(0).at(-1) ?? 1) + joined);
  if (name.startsWith("attention")) {
    const [b, t, h, d] = dims(0) as [number, number, number, number];
    const [s, dv] = [dims(2)[1]!, dims(2)[3]!];
    const hidden = (arg as { causal: boolean }).causal ? (Math.min(t, s) * (Math.min(t, s) - 1)) / 2 : 0;
    const pairs = b * h * (t * s - hidden);
    return name === "attention" ? 2 * pairs * (d + dv) : 2 * pairs * (3 * d + 2 * dv);
  }
  return ROW_KERNELS.test(name) ? ROW_FLOPS * product(dims(0)) : 0;
}

/** What a group is, with its shapes: "mul+add over 4096", "matmul of 8×8, 8×8". */
export function groupName(group: Group): string {
  if (group.kind === "loop") return `${group.name} over ${group.space.join("×") || "1"}`;
  const shapes = group.inputs.map((input) => ("value" in input ? input.dims.join("×") : "scalar"));
  return `${group.name} of ${shapes.join(", ")}`;
}
