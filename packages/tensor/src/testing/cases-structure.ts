import { DTYPES, type DType, isFloat } from "../dtype.js";
import type { OpDef } from "../op.js";
import * as concat from "../ops/concat.js";
import { dataOp, full, iota, iotaOp, scalarOp } from "../ops/create.js";
import * as gather from "../ops/gather.js";
import * as matmul from "../ops/matmul.js";
import * as movement from "../ops/movement.js";
import * as pad from "../ops/pad.js";
import * as reduce from "../ops/reduce.js";
import * as scan from "../ops/scan.js";
import * as sort from "../ops/sort.js";
import * as updateSlice from "../ops/update-slice.js";
import { type Dims, sizeOf } from "../shape.js";
import { apply, applyMulti, type Tensor } from "../tensor.js";
import { entry, FLOATS, NUMBERS, type OpEntry } from "./cases-elementwise.js";
import type { Drawer } from "./drawer.js";

const count = (dims: Dims, axes: readonly number[]): number => sizeOf(axes.map((d) => dims[d]!));

function reduction(op: OpDef, dtypes: readonly DType[]): OpEntry {
  return entry(op, dtypes, true, (d) => {
    const domain = isFloat(d.dtype) ? op.check?.domain : undefined;
    const dims = d.rng.chance(0.1) && !d.smooth ? [d.rng.int(200, 3000)] : d.dims(1);
    const axes = d.rng.chance(0.1) ? [] : d.axes(dims.length);
    // A product of many factors would leave every range.
    if (op.name === "prod") while (count(dims, axes) > 12) axes.pop();
    const empty = count(dims, axes) === 0 && (op.name === "max" || op.name === "min");
    d.input(empty ? dims.map((n) => Math.max(n, 1)) : dims, {
      domain,
      grid: d.rng.chance(0.3) && op.name !== "prod",
    });
    return d.case(`${op.name} over [${axes.join(", ")}]`, ([x]) => apply(op, [x!], { axes }), {
      ...op.check,
      terms: op.name === "sum" ? count(dims, axes) : 0,
      scale: 6,
    });
  });
}

const view = (op: OpDef, draw: (d: Drawer, dims: Dims) => unknown): OpEntry =>
  entry(op, DTYPES, true, (d) => {
    const dims = d.dims();
    d.input(dims);
    const arg = draw(d, dims);
    return d.case(`${op.name} ${JSON.stringify(arg)}`, ([x]) => apply(op, [x!], arg));
  });

/** Splits and merges axes. */
function otherDims(d: Drawer, dims: Dims): number[] {
  const factors = dims.flatMap((n) => (n > 2 && n % 2 === 0 && d.rng.chance(0.5) ? [2, n / 2] : [n]));
  const out: number[] = [];
  for (const n of factors) {
    if (out.length > 0 && d.rng.chance(0.4)) out[out.length - 1]! *= n;
    else out.push(n);
  }
  if (d.rng.chance(0.2)) out.splice(d.rng.int(0, out.length), 0, 1);
  return sizeOf(out) === sizeOf(dims) ? out : [sizeOf(dims)];
}

function sliceArg(d: Drawer, dims: Dims): movement.SliceArg {
  const starts: number[] = [];
  const steps: number[] = [];
  const sizes: number[] = [];
  for (const n of dims) {
    const step = d.rng.pick([1, 1, 1, 2, 3, -1, -1, -2]);
    const start = n === 0 ? 0 : d.rng.int(0, n - 1);
    const room = n === 0 ? 0 : step > 0 ? Math.ceil((n - start) / step) : Math.floor(start / -step) + 1;
    starts.push(start);
    steps.push(step);
    sizes.push(d.rng.chance(0.05) ? 0 : d.rng.int(Math.min(1, room), room));
  }
  return { starts, steps, sizes };
}

const matmulCase = entry(matmul.matmulOp, FLOATS, true, (d) => {
  const { rng } = d;
  const batch = d.smooth ? d.dims(0, 1) : Array.from({ length: rng.pick([0, 0, 1, 2]) }, () => rng.int(1, 3));
  const size = () => (d.smooth ? rng.int(1, 3) : rng.pick([1, 2, 3, 4, 5, 7, 8, 9, 16, 17, 31, 33, 64, 65]));
  const [m, k, n] = [size(), rng.chance(0.03) ? 0 : size(), size()];
  const half = d.dtype === "f16" || d.dtype === "bf16";
  const mixed = half && rng.chance(0.4);
  d.input([...batch, m, k], { domain: [-2, 2] });
  d.input([...batch, k, n], { domain: [-2, 2], ...(mixed && { dtype: "f32" as const }) });
  return d.case("matmul", ([a, b]) => apply(matmul.matmulOp, [a!, b!], null), { terms: 2 * k, scale: 4 });
});

/** Indices below n, now and then one outside. */
function indices(d: Drawer, dims: Dims, n: number): void {
  const outside = !d.smooth && d.rng.chance(0.2);
  d.input(dims, { dtype: "i32", domain: outside ? [-1, n] : [0, n - 1] });
}

const take = entry(gather.takeOp, DTYPES, true, (d) => {
  const dims = d.dims(1, 3).map((n) => Math.max(1, n));
  const axis = d.rng.int(0, dims.length - 1);
  d.input(dims);
  indices(d, d.dims(0, 2), dims[axis]!);
  return d.case(`take along ${axis}`, ([x, i]) => apply(gather.takeOp, [x!, i!], { axis }));
});

const scatterAdd = entry(gather.scatterAddOp, NUMBERS, true, (d) => {
  const [lead, at, rest] = [d.dims(0, 1), d.dims(0, 2), d.dims(0, 1)];
  const size = d.rng.int(1, 9);
  indices(d, at, size);
  d.input([...lead, ...at, ...rest]);
  const arg = { axis: lead.length, size };
  const build = ([i, u]: readonly Tensor[]) => apply(gather.scatterAddOp, [i!, u!], arg);
  return d.case(`scatterAdd ${JSON.stringify(arg)}`, build, { terms: sizeOf(at), scale: 3 });
});

const takeAlong = entry(gather.takeAlongAxisOp, DTYPES, true, (d) => {
  const dims = d.dims(1, 3).map((n) => Math.max(1, n));
  const axis = d.rng.int(0, dims.length - 1);
  d.input(dims);
  indices(
    d,
    dims.map((n, i) => (i === axis ? d.size() : n)),
    dims[axis]!,
  );
  return d.case(`takeAlongAxis ${axis}`, ([x, i]) => apply(gather.takeAlongAxisOp, [x!, i!], { axis }));
});

const scatterAlong = entry(gather.scatterAddAlongAxisOp, NUMBERS, true, (d) => {
  const dims = d.dims(1, 3);
  const arg = { axis: d.rng.int(0, dims.length - 1), size: d.rng.int(1, 9) };
  indices(d, dims, arg.size);
  d.input(dims);
  const build = ([i, u]: readonly Tensor[]) => apply(gather.scatterAddAlongAxisOp, [i!, u!], arg);
  return d.case(`scatterAddAlongAxis ${JSON.stringify(arg)}`, build, { terms: dims[arg.axis]!, scale: 3 });
});

const concatCase = entry(concat.concatOp, DTYPES, true, (d) => {
  const dims = d.dims(1, 3);
  const axis = d.rng.int(0, dims.length - 1);
  const pieces = d.rng.int(1, 4);
  for (let i = 0; i < pieces; i++) d.input(dims.map((n, at) => (at === axis ? d.rng.int(0, 5) : n)));
  return d.case(`concat along ${axis}`, (inputs) => apply(concat.concatOp, inputs, { axis }));
});

const updateSliceCase = entry(updateSlice.updateSliceOp, DTYPES, true, (d) => {
  const dims = d.dims(1, 3).map((n) => Math.max(1, n));
  const axis = d.rng.int(0, dims.length - 1);
  d.input(dims);
  d.input(dims.map((n, i) => (i === axis ? d.rng.int(1, n) : n)));
  const start = d.rng.int(d.smooth ? 0 : -1, dims[axis]!);
  const build = ([base, value]: readonly Tensor[]) => updateSlice.updateSlice(base!, value!, start, axis);
  return d.case(`updateSlice at ${start} along ${axis}`, build);
});

const sortCase = entry(sort.sortOp, NUMBERS, true, (d) => {
  const descending = d.rng.chance(0.5);
  d.input(d.dims(1), { grid: true, specials: d.rng.chance(0.2) });
  return d.case(`sort ${descending ? "down" : "up"}`, ([x]) => {
    const [values, order] = applyMulti(sort.sortOp, [x!], { descending });
    return d.smooth ? values! : [values!, order!];
  });
});

const topKCase = entry(sort.topKOp, NUMBERS, true, (d) => {
  const dims = d.dims(1);
  const arg = { k: d.rng.int(0, dims[dims.length - 1]!), largest: d.rng.chance(0.5) };
  d.input(dims, { grid: true, specials: d.rng.chance(0.2) });
  return d.case(`topK ${JSON.stringify(arg)}`, ([x]) => {
    const [values, order] = applyMulti(sort.topKOp, [x!], arg);
    return d.smooth ? values! : [values!, order!];
  });
});

const argExtreme = (op: OpDef): OpEntry =>
  entry(op, NUMBERS, false, (d) => {
    d.input(
      d.dims(1).map((n) => Math.max(1, n)),
      { grid: true, specials: d.rng.chance(0.2) },
    );
    return d.case(op.name, ([x]) => apply(op, [x!], null));
  });

const cumsumCase = entry(scan.cumsumOp, [...FLOATS, "i32"], true, (d) => {
  const dims = d.dims(1);
  const reverse = d.rng.chance(0.5);
  d.input(dims, { grid: d.dtype === "f16" || d.dtype === "bf16" });
  return d.case(`cumsum${reverse ? " from the end" : ""}`, ([x]) => apply(scan.cumsumOp, [x!], { reverse }), {
    terms: dims[dims.length - 1]!,
    scale: 3 * dims[dims.length - 1]!,
  });
});

const leaves: readonly OpEntry[] = [
  entry(dataOp, DTYPES, false, (d) => {
    d.input(d.dims(), { specials: d.rng.chance(0.2) });
    return d.case("data", ([x]) => x!);
  }),
  entry(scalarOp, DTYPES, false, (d) => {
    const [dims, value] = [d.dims(), d.rng.int(0, 100)];
    return d.case(`full ${value} as ${d.dtype}`, () => full(dims, value, { dtype: d.dtype }));
  }),
  entry(iotaOp, NUMBERS, false, (d) => {
    const dims = d.dtype === "i8" || d.dtype === "u8" ? [d.rng.int(0, 16), d.rng.int(0, 8)] : d.dims();
    return d.case(`iota as ${d.dtype}`, () => iota(dims, { dtype: d.dtype }));
  }),
];

/** Cases of views, reductions, products, indexing and leaves. */
export const structureCases = (): readonly OpEntry[] => [
  ...leaves,
  reduction(reduce.sumOp, [...FLOATS, "i32"]),
  reduction(reduce.prodOp, [...FLOATS, "i32"]),
  reduction(reduce.maxOp, NUMBERS),
  reduction(reduce.minOp, NUMBERS),
  view(movement.reshapeOp, (d, dims) => ({ dims: otherDims(d, dims) })),
  view(movement.permuteOp, (d, dims) => ({ axes: d.rng.order(dims.length) })),
  view(movement.sliceOp, sliceArg),
  view(movement.aliasOp, () => null),
  { ...view(movement.stopGradientOp, () => null), differentiable: false },
  entry(movement.broadcastOp, DTYPES, true, (d) => {
    const dims = d.dims(0, 3);
    d.input(d.narrower(dims));
    return d.case("broadcast", ([x]) => apply(movement.broadcastOp, [x!], { dims }));
  }),
  view(pad.padOp, (d, dims) => ({
    low: dims.map(() => d.rng.int(0, 2)),
    high: dims.map(() => d.rng.int(0, 2)),
    interior: dims.map(() => d.rng.pick([0, 0, 1, 2])),
  })),
  // The second result of a node that has two.
  entry(movement.pickOp, ["f32"], false, (d) => {
    d.input(d.dims(1));
    return d.case("pick", ([x]) => applyMulti(sort.sortOp, [x!], { descending: false })[1]!);
  }),
  matmulCase,
  take,
  scatterAdd,
  takeAlong,
  scatterAlong,
  concatCase,
  updateSliceCase,
  sortCase,
  topKCase,
  argExtreme(sort.argmaxOp),
  argExtreme(sort.argminOp),
  cumsumCase,
];
