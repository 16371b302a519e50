import {
  type Group,
  type KernelGroup,
  type Load,
  type Operand,
  sizeOf,
  type Value,
} from "@lowrank/tensor/backend";
import { operandAt } from "./emit.js";
import { bytesOf, joinOf, narrow, partOf, ranges, reach, rowStep, type SplitContext, STEP } from "./split.js";

/** A kernel as pieces that see less of their largest tensor; undefined where there is no way. */
export function splitKernel(group: KernelGroup, ctx: SplitContext): Group[] | undefined {
  if (group.epilogue) return partFromEpilogue(group, ctx);
  if (group.name === "matmul") return splitMatmul(group, ctx);
  if (group.name === "take") return splitTake(group, ctx);
  if (group.name === "scatterAdd") return splitScatterAdd(group, ctx);
  return splitRows(group, ctx);
}

/** A kernel and the loop that follows it, with the results between them in memory. */
function partFromEpilogue({ epilogue, ...group }: KernelGroup, ctx: SplitContext): Group[] {
  const product = group.outputs[0]!;
  const stored = ctx.temporary(product, product.dtype, product.dims);
  const loads = epilogue!.loads.map(
    (load): Load => (load.kind === "value" && load.value === product ? { ...load, value: stored } : load),
  );
  return [
    { ...group, name: group.op.name, outputs: [stored] },
    { ...epilogue!, loads },
  ];
}

/** The most of `total` that brings `bytes`, which grow with it, within the limit, as a multiple of `step`; 0 if none does. */
const within = (total: number, bytes: number, step: number, limit: number): number =>
  Math.floor(Math.floor((total * limit) / bytes) / step) * step;

/**
 * C = A B by matrices of a batch; by rows where C or a row-major A is too large; by columns of C where B has its columns
 * apart; else along k, with products that are added up.
 */
function splitMatmul(group: KernelGroup, ctx: SplitContext): Group[] | undefined {
  const { limit } = ctx;
  const [a, b] = [0, 1].map((i) => narrow(operandAt(group, i), operandAt(group, i).dims, 0)) as [
    Operand,
    Operand,
  ];
  const y = group.outputs[0]!;
  const rank = y.dims.length;
  const [rows, columns] = [y.dims[rank - 2]!, y.dims[rank - 1]!];
  const depth = a.dims[rank - 1]!;
  const too = (value: Value): boolean => bytesOf(value) > limit;
  if (![a.value, b.value, y].some(too)) return [{ ...group, inputs: [a, b] }];
  const axis = y.dims.slice(0, -2).findIndex((n) => n > 1);
  if (axis >= 0) {
    const inner = sizeOf(y.dims.slice(axis + 1));
    const bytes = Math.max(...[a, b].map(viewBytes), bytesOf(y));
    const count = Math.max(1, within(y.dims[axis]!, bytes, rowStep(inner, y.dtype), limit - 2048));
    return alongRows(group, [a, b], axis, count, inner);
  }

  const [aRow, aDepth] = [a.strides[rank - 2]!, a.strides[rank - 1]!];
  const [bDepth, bColumn] = [b.strides[rank - 2]!, b.strides[rank - 1]!];
  if (too(y) || (too(a.value) && aRow >= aDepth)) {
    const bytes = Math.max(bytesOf(y), aRow >= aDepth ? viewBytes(a) : 0);
    const count = within(rows, bytes, rowStep(columns, y.dtype), limit - 2048);
    return alongRows(group, [a], rank - 2, count, columns);
  }
  if (too(b.value) && bColumn >= bDepth) {
    const panels = ranges(columns, within(columns, viewBytes(b), 4, limit - 2048))?.map(
      ([first, n]): [KernelGroup, Operand] => {
        const panel = ctx.temporary(y, y.dtype, y.dims.with(rank - 1, n));
        const right = narrow(b, b.dims.with(rank - 1, n), first * bColumn);
        return [{ ...group, inputs: [a, right], outputs: [panel] }, whole(panel)];
      },
    );
    if (!panels) return undefined;
    const joined: KernelGroup = {
      ...group,
      name: "concat",
      op: { ...group.op, name: "concat" },
      arg: { axis: rank - 1 },
      inputs: panels.map(([, operand]) => operand),
    };
    return [...panels.map(([product]) => product), joined];
  }
  const bytes = Math.max(too(a.value) ? viewBytes(a) : 0, too(b.value) ? viewBytes(b) : 0);
  const parts = ranges(depth, within(depth, bytes, 4, limit - 2048));
  if (!parts) return undefined;
  const width = Math.ceil(y.size / STEP) * STEP;
  const sums = ctx.temporary(y, "f32", [parts.length, width]);
  const products = parts.map(
    ([first, n], p): KernelGroup => ({
      ...group,
      inputs: [
        narrow(a, a.dims.with(rank - 1, n), first * aDepth),
        narrow(b, b.dims.with(rank - 2, n), first * bDepth),
      ],
      outputs: [partOf(sums, p * width, y.size, y.dims)],
    }),
  );
  return [...products, joinOf({ op: "sum", dtype: "f32", value: y }, sums, y.size)];
}

/** Bytes from the first to the last element that an operand reaches. */
function viewBytes({ dims, strides, offset, value }: Operand): number {
  const [low, high] = reach(dims, strides, offset);
  return ((high - low + 1) * bytesOf(value)) / value.size;
}

const whole = (value: Value): Operand => {
  const strides = value.dims.map((_, d) => sizeOf(value.dims.slice(d + 1)));
  return { value, dtype: value.dtype, dims: value.dims, offset: 0, strides };
};

/** A product by ranges of one axis of the result, which the first operands have too, `inner` results apart. */
function alongRows(
  group: KernelGroup,
  moving: readonly Operand[],
  axis: number,
  count: number,
  inner: number,
): Group[] | undefined {
  const y = group.outputs[0]!;
  if (count % rowStep(inner, y.dtype) !== 0) return undefined;
  const parts = ranges(y.dims[axis]!, count);
  return parts?.map(([first, n]): KernelGroup => {
    const inputs = group.inputs.map((input, i) => {
      const operand = moving[i];
      return operand ? narrow(operand, operand.dims.with(axis, n), first * operand.strides[axis]!) : input;
    });
    return { ...group, inputs, outputs: [partOf(y, first * inner, n * inner, y.dims.with(axis, n))] };
  });
}

/**
 * y[i, b] = x[indices[i], b] along the first axis: by ranges of the indices where y is too large, and by segments of the
 * table, each of which gives zeros for what lies outside of it, so that the results add up (-0 becomes 0).
 */
function splitTake(group: KernelGroup, ctx: SplitContext): Group[] | undefined {
  const [x, indices, y] = [operandAt(group, 0), operandAt(group, 1), group.outputs[0]!];
  const { axis, first: start = 0 } = group.arg as { axis: number; first?: number };
  if (axis !== 0) return undefined;
  const inner = sizeOf(x.dims.slice(1));
  const total = sizeOf(indices.dims);
  if (bytesOf(y) > ctx.limit) {
    const count = within(total, bytesOf(y), Math.max(rowStep(1, "i32"), rowStep(inner, y.dtype)), ctx.limit);
    const parts = ranges(total, count);
    return parts?.map(
      ([first, n]): KernelGroup => ({
        ...group,
        inputs: [x, { ...indices, value: partOf(indices.value, first, n), dims: [n], strides: [1] }],
        outputs: [partOf(y, first * inner, n * inner, x.dims.with(0, n))],
      }),
    );
  }
  const rows = x.dims[0]!;
  const parts = ranges(rows, within(rows, bytesOf(x.value), rowStep(inner, x.dtype), ctx.limit));
  if (!parts || y.dtype === "bool") return undefined;
  const width = Math.ceil(y.size / STEP) * STEP;
  const found = ctx.temporary(y, y.dtype, [parts.length, width]);
  const pieces = parts.map(([first, n], p): KernelGroup => {
    const segment = partOf(x.value, first * inner, n * inner);
    return {
      ...group,
      arg: { axis, first: start + first },
      inputs: [{ ...x, value: segment, dims: x.dims.with(0, n) }, indices],
      outputs: [partOf(found, p * width, y.size, y.dims)],
    };
  });
  return [...pieces, joinOf({ op: "sum", dtype: y.dtype, value: y }, found, y.size)];
}

/** y[j, b] = Σ updates[i, b] over indices[i] = j, by ranges of j. */
function splitScatterAdd(group: KernelGroup, ctx: SplitContext): Group[] | undefined {
  const y = group.outputs[0]!;
  const { axis, size, first: start = 0 } = group.arg as { axis: number; size: number; first?: number };
  const inner = sizeOf(y.dims.slice(1));
  if (axis !== 0) return undefined;
  const parts = ranges(size, within(size, bytesOf(y), rowStep(inner, y.dtype), ctx.limit));
  return parts?.map(
    ([first, n]): KernelGroup => ({
      ...group,
      arg: { axis, size: n, first: start + first },
      outputs: [partOf(y, first * inner, n * inner, y.dims.with(0, n))],
    }),
  );
}

/**
 * Kernels that work row by row, with what their inputs and results have: "x" rows, "r" one number for each row, "s" what
 * all rows share. By name and number of inputs.
 */
const BY_ROWS: Readonly<Record<string, [inputs: string, outputs: string]>> = {
  softmax1: ["x", "x"],
  softmaxBackward2: ["xx", "x"],
  crossEntropy2: ["xr", "rr"],
  crossEntropyBackward4: ["xrrr", "x"],
  layerNorm1: ["x", "xrr"],
  layerNorm3: ["xss", "xrr"],
  layerNormBackward4: ["xrrx", "x"],
  layerNormBackward5: ["xsrrx", "x"],
  rmsNorm2: ["xs", "xr"],
  rmsNormBackward4: ["xsrx", "x"],
};

function splitRows(group: KernelGroup, ctx: SplitContext): Group[] | undefined {
  const kinds = BY_ROWS[`${group.name}${group.inputs.length}`];
  const head = group.inputs[0];
  if (!kinds || !head || !("value" in head)) return undefined;
  const length = head.dims.at(-1)!;
  const rows = sizeOf(head.dims) / length;
  const bytes = Math.max(
    ...group.inputs.map((input, i) => ("value" in input && kinds[0][i] !== "s" ? bytesOf(input.value) : 0)),
    ...group.outputs.map(bytesOf),
  );
  const values = [
    ...group.inputs.flatMap((input) => ("value" in input ? [input.value] : [])),
    ...group.outputs,
  ];
  const step = Math.max(...values.flatMap(({ dtype }) => [rowStep(length, dtype), rowStep(1, dtype)]));
  const part = (value: Value, kind: string | undefined, first: number, n: number): Value =>
    kind === "x" ? partOf(value, first * length, n * length, [n, length]) : partOf(value, first, n);
  const parts = ranges(rows, within(rows, bytes, step, ctx.limit));
  return parts?.map(
    ([first, n]): KernelGroup => ({
      ...group,
      inputs: group.inputs.map((input, i) => {
        if (!("value" in input) || kinds[0][i] === "s") return input;
        return { ...whole(part(input.value, kinds[0][i], first, n)), dtype: input.dtype };
      }),
      outputs: group.outputs.map((value, i) => part(value, kinds[1][i], first, n)),
    }),
  );
}
