import { type DType, encodeHost, isFloat, roundTo } from "../dtype.js";
import { fromHost } from "../ops/create.js";
import { broadcastTo, flip, permute, slice } from "../ops/movement.js";
import { forEachIndex } from "../reference/copy.js";
import { contiguousStrides, type Dims, showDims, sizeOf } from "../shape.js";
import type { Tensor } from "../tensor.js";
import type { Rng } from "./rng.js";

/** How an input lies in memory: as it is, or as a view of something larger, turned or stretched. */
export interface View {
  /** Order of the axes in memory. */
  readonly order: readonly number[];
  readonly flipped: readonly boolean[];
  /** Distance between elements along each axis, with poison in between. */
  readonly steps: readonly number[];
  /** Axes along which one number is stretched. */
  readonly stretched: readonly boolean[];
}

export interface CaseInput {
  readonly dtype: DType;
  readonly dims: Dims;
  readonly values: Float64Array;
  readonly view: View;
}

/** Inputs and what to do with them. */
export interface OpCase {
  /** What is tested, in words for a failure. */
  readonly text: string;
  readonly inputs: readonly CaseInput[];
  build(inputs: readonly Tensor[]): readonly Tensor[];
  readonly rtol: number;
  readonly atol: number;
}

export interface InputOptions {
  dtype?: DType;
  /** Default: [-3, 3]. */
  domain?: readonly [number, number] | undefined;
  /** Multiples of 1/4, so that ties and halves occur. */
  grid?: boolean;
  /** Sprinkle zeros of both signs, infinities and NaN. */
  specials?: boolean;
  integers?: boolean;
  /** A row-major leaf, no view. */
  plain?: boolean;
}

const SIZES = [1, 1, 2, 3, 4, 5, 7, 8, 9, 16, 17, 33, 65];
const SMALL_SIZES = [1, 2, 3, 4];
const SPECIALS = [0, -0, Number.POSITIVE_INFINITY, Number.NEGATIVE_INFINITY, Number.NaN];

/** Draws the inputs of one case. */
export class Drawer {
  readonly inputs: CaseInput[] = [];

  constructor(
    readonly rng: Rng,
    /** The dtype under test; inputs have it unless told otherwise. */
    readonly dtype: DType,
    /** For differences: few elements, no views, nothing between which a function jumps. */
    readonly smooth: boolean,
  ) {}

  size(): number {
    return this.rng.pick(this.smooth ? SMALL_SIZES : SIZES);
  }

  /** Some shape; now and then without elements. */
  dims(minRank = 0, maxRank = 4): number[] {
    const most = this.smooth ? 16 : 3000;
    const dims = Array.from({ length: this.rng.int(minRank, maxRank) }, () => this.size());
    while (sizeOf(dims) > most) dims[this.rng.int(0, dims.length - 1)] = this.rng.int(1, 3);
    if (!this.smooth && dims.length > 0 && this.rng.chance(0.06)) dims[this.rng.int(0, dims.length - 1)] = 0;
    return dims;
  }

  /** A shape that broadcasts with another to that other. */
  narrower(dims: Dims): number[] {
    const kept = dims.slice(this.rng.chance(0.3) ? this.rng.int(0, dims.length) : 0);
    return kept.map((n) => (this.rng.chance(0.25) ? 1 : n));
  }

  axes(rank: number): number[] {
    return Array.from({ length: rank }, (_, d) => d).filter(() => this.rng.chance(0.5));
  }

  input(dims: Dims, options: InputOptions = {}): CaseInput {
    const dtype = options.dtype ?? this.dtype;
    const plain = options.plain || this.smooth || this.rng.chance(0.4);
    const view = plain ? plainView(dims.length) : this.view(dims);
    const base = dims.map((n, d) => (view.stretched[d] ? Math.min(n, 1) : n));
    const drawn = Float64Array.from({ length: sizeOf(base) }, () => this.number(dtype, options));
    const values = view.stretched.includes(true) ? stretch(drawn, base, dims) : drawn;
    const input = { dtype, dims: dims.slice(), values, view };
    this.inputs.push(input);
    return input;
  }

  private number(dtype: DType, options: InputOptions): number {
    const { rng } = this;
    const [low, high] = options.domain ?? [-3, 3];
    if (dtype === "bool") return rng.int(0, 1);
    if (options.specials && !this.smooth && rng.chance(0.15)) return rng.pick(SPECIALS);
    if (!isFloat(dtype)) {
      const signed = dtype === "i32" || dtype === "i8";
      if (options.domain) return rng.int(Math.ceil(low), Math.floor(high));
      if (rng.chance(0.05)) return roundTo(dtype, rng.pick([2 ** 31, -(2 ** 31), 2 ** 32]));
      return rng.int(signed ? -9 : 0, 9);
    }
    if (options.integers) return rng.int(Math.ceil(low), Math.floor(high));
    if (options.grid && !this.smooth) return roundTo(dtype, Math.round(rng.between(low, high) * 4) / 4);
    return roundTo(dtype, rng.between(low, high));
  }

  private view(dims: Dims): View {
    const { rng } = this;
    return {
      order: rng.chance(0.5) ? rng.order(dims.length) : dims.map((_, d) => d),
      flipped: dims.map(() => rng.chance(0.15)),
      steps: dims.map((n) => (n > 0 && rng.chance(0.2) ? rng.int(2, 3) : 1)),
      stretched: dims.map(() => rng.chance(0.1)),
    };
  }

  /** The case made of all inputs drawn. */
  case(
    text: string,
    build: (inputs: readonly Tensor[]) => Tensor | readonly Tensor[],
    tolerance: { rtol?: number | undefined; atol?: number | undefined; terms?: number; scale?: number } = {},
  ): OpCase {
    const { rtol = 0, atol = 0, terms = 0, scale = 1 } = tolerance;
    const unit = UNIT[this.dtype] ?? 0;
    return {
      text: `${text} of ${this.inputs.map(showInput).join(", ")}`,
      inputs: this.inputs,
      build: (inputs) => {
        const out = build(inputs);
        return Array.isArray(out) ? (out as readonly Tensor[]) : [out as Tensor];
      },
      rtol: Math.max(this.dtype === "f64" ? rtol * 2 ** -20 : rtol, RTOL[this.dtype] ?? 0),
      atol: Math.max(atol, ATOL[this.dtype] ?? 0) + terms * Math.min(unit, 2 ** -24) * scale,
    };
  }
}

const UNIT: Partial<Record<DType, number>> = { f64: 2 ** -53, f32: 2 ** -24, f16: 2 ** -11, bf16: 2 ** -8 };
// Two units in the last place of f32; one of the halves, since a value near a midpoint may be rounded either way.
const RTOL: Partial<Record<DType, number>> = { f64: 1e-14, f32: 2.4e-7, f16: 1e-3, bf16: 8e-3 };
const ATOL: Partial<Record<DType, number>> = { f64: 1e-300, f32: 1e-37, f16: 1e-7, bf16: 1e-37 };

const plainView = (rank: number): View => ({
  order: Array.from({ length: rank }, (_, d) => d),
  flipped: new Array<boolean>(rank).fill(false),
  steps: new Array<number>(rank).fill(1),
  stretched: new Array<boolean>(rank).fill(false),
});

function stretch(data: Float64Array, from: Dims, to: Dims): Float64Array {
  const strides = contiguousStrides(from);
  const out = new Float64Array(sizeOf(to));
  forEachIndex(to, (index, at) => {
    let k = 0;
    for (let d = 0; d < to.length; d++) if (from[d] !== 1) k += index[d]! * strides[d]!;
    out[at] = data[k]!;
  });
  return out;
}

function showInput({ dtype, dims, view }: CaseInput): string {
  const notes: string[] = [];
  if (view.order.some((a, d) => a !== d)) notes.push(`permuted ${view.order.join("")}`);
  if (view.flipped.includes(true)) notes.push("flipped");
  if (view.steps.some((s) => s > 1)) notes.push("strided");
  if (view.stretched.includes(true)) notes.push("stretched");
  return `${dtype}${showDims(dims)}${notes.length ? ` (${notes.join(", ")})` : ""}`;
}

/** The tensor of an input: a leaf in memory as its view says, read through movement ops. */
export function tensorOf({ dtype, dims, values, view }: CaseInput): Tensor {
  const rank = dims.length;
  const base = dims.map((n, d) => (view.stretched[d] ? Math.min(n, 1) : n));
  const inMemory = view.order.map((d) => (base[d]! === 0 ? 0 : (base[d]! - 1) * view.steps[d]! + 1));
  const strides = contiguousStrides(inMemory);
  const logical = contiguousStrides(dims);
  const data = new Float64Array(sizeOf(inMemory)).fill(isFloat(dtype) ? Number.NaN : 77);
  forEachIndex(base, (index) => {
    let at = 0;
    let from = 0;
    for (let k = 0; k < rank; k++) {
      const d = view.order[k]!;
      const i = view.flipped[d] ? base[d]! - 1 - index[d]! : index[d]!;
      at += i * view.steps[d]! * strides[k]!;
    }
    for (let d = 0; d < rank; d++) from += index[d]! * logical[d]!;
    data[at] = values[from]!;
  });
  const leaf = fromHost(dtype, inMemory, encodeHost(dtype, data));
  const picked = slice(
    leaf,
    view.order.map((d) => [null, null, view.steps[d]!] as const),
  );
  const back = new Array<number>(rank);
  for (let k = 0; k < rank; k++) back[view.order[k]!] = k;
  const turned = permute(picked, back);
  const axes = view.flipped.map((f, d) => (f ? d : -1)).filter((d) => d >= 0);
  return broadcastTo(axes.length ? flip(turned, axes) : turned, dims);
}
