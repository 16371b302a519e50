import { type DType, isFloat } from "../../dtype.js";
import { LowrankError } from "../../errors.js";
import { type Dims, sizeOf } from "../../shape.js";
import type { Tensor } from "../../tensor.js";
import { Rng } from "../rng.js";
import { leafStep, type Step } from "./program.js";

/** What is known of the numbers of a value. */
export interface Facts {
  /** No number is larger than this. */
  readonly bound: number;
  /** All are multiples of 2^−grain; −1: they carry roundings. */
  readonly grain: number;
  /** A function with kinks saw numbers with roundings: no gradient can be compared. */
  readonly kinked: boolean;
  /** Halves or bools are among what it was made from. */
  readonly narrow: boolean;
}

export interface Known extends Facts {
  readonly step: number;
  /** Values that it was made from, itself included. */
  readonly ancestors: ReadonlySet<number>;
  readonly tensor: Tensor;
}

/** An op to be added: numbers of the values it reads, how it is built, and what becomes of the facts. */
export interface Candidate {
  text: string;
  inputs: readonly Known[];
  build(inputs: readonly Tensor[]): Tensor;
  bound: number;
  /** Grain of the result; "any" when it is rounded. */
  grain: number | "any";
  kinked?: boolean;
}

/** Bits that a dtype holds exactly. */
const BITS: Record<DType, number> = {
  f32: 22,
  f64: 22,
  f16: 10,
  bf16: 7,
  i32: 30,
  u32: 31,
  i8: 7,
  u8: 8,
  bool: 1,
};

export const isExact = (v: Facts): boolean => v.grain >= 0;
const isHalf = (dtype: DType): boolean => dtype === "f16" || dtype === "bf16";

const DIMS = [0, 1, 2, 2, 3, 3, 5, 8, 33];
const LARGE_DIMS = [1, 2, 5, 33, 64, 100, 257, 1000];
const MOST_ELEMENTS = 1500;

/** Grows a program value by value. */
export class Generator {
  readonly rng: Rng;
  readonly steps: Step[] = [];
  readonly known: Known[] = [];

  private readonly sizes: readonly number[];
  private readonly most: number;

  constructor(
    seed: number,
    large: boolean,
    private readonly f64: boolean,
  ) {
    this.rng = new Rng(seed);
    this.sizes = large ? LARGE_DIMS : DIMS;
    this.most = large ? 40_000 : MOST_ELEMENTS;
  }

  dims(minRank = this.rng.chance(0.9) ? 1 : 0, maxRank = 4): number[] {
    const dims = Array.from({ length: this.rng.int(minRank, maxRank) }, () => this.rng.pick(this.sizes));
    if (this.rng.chance(0.8)) for (let d = 0; d < dims.length; d++) if (dims[d] === 0) dims[d] = 2;
    while (sizeOf(dims) > this.most) dims[this.rng.int(0, dims.length - 1)] = this.rng.int(1, 2);
    return dims;
  }

  /** A new leaf: data, or now and then a parameter. */
  leaf(dims: Dims, dtype: DType = this.leafDType()): Known {
    const rough = (dtype === "f32" || dtype === "f64") && this.rng.chance(0.35);
    const cell = dtype === "f32" && this.rng.chance(0.25);
    return this.push(leafStep(dtype, dims, this.rng.int(1, 1e6), rough, cell), [], {
      bound: dtype === "bool" ? 1 : dtype.startsWith("u") ? 6 : 3,
      grain: rough ? -1 : isFloat(dtype) ? 1 : 0,
      kinked: false,
      narrow: isHalf(dtype),
    });
  }

  private leafDType(): DType {
    const other: readonly DType[] = ["f16", "bf16", "i32", "i32", "bool", "u8", "i8", "u32", "f64"];
    return this.rng.chance(0.65) ? "f32" : this.pickDType(other);
  }

  /** f32 in place of f64 where the graph is to be without. */
  pickDType<T extends DType>(from: readonly T[]): T | "f32" {
    const dtype = this.rng.pick(from);
    return dtype === "f64" && !this.f64 ? "f32" : dtype;
  }

  /** A value that fulfils a condition; recent ones and those made of many others are likelier. */
  find(condition: (v: Known) => boolean): Known | null {
    const fitting = this.known.filter(condition);
    if (!fitting.length) return null;
    if (this.rng.chance(0.4))
      return fitting[fitting.length - 1 - this.rng.int(0, Math.min(3, fitting.length - 1))]!;
    return this.deepest(fitting, 3);
  }

  /** Of a few drawn values the one with the most ancestors. */
  deepest(list: readonly Known[], draws: number): Known {
    let best = this.rng.pick(list);
    for (let i = 1; i < draws; i++) {
      const other = this.rng.pick(list);
      if (other.ancestors.size > best.ancestors.size) best = other;
    }
    return best;
  }

  /** Adds a candidate if its result can be followed: small enough, in range, exact where the dtype asks for it. */
  add(c: Candidate): Known | null {
    let tensor: Tensor;
    try {
      tensor = c.build(c.inputs.map((v) => v.tensor));
    } catch (error) {
      // Not every drawn shape suits every op (the maximum of nothing, an axis of a scalar).
      if (error instanceof LowrankError) return null;
      throw error;
    }
    const { dtype, size, ndim } = tensor;
    if (size > this.most || ndim > 6 || !(c.bound < 1e5)) return null;
    const fits = (bound: number, grain: number): boolean =>
      Math.log2(Math.max(bound, 1)) + grain <= BITS[dtype];
    const exactInputs = c.inputs.every(isExact);
    let grain = c.grain === "any" || !exactInputs ? -1 : c.grain;
    if (grain >= 0 && !fits(c.bound, grain)) grain = -1;
    // Roundings are only followed in f32 and f64.
    if (grain < 0 && dtype !== "f32" && dtype !== "f64") return null;
    if (isHalf(dtype) && !c.inputs.every((v) => fits(v.bound, v.grain))) return null;
    const step: Step = {
      text: c.text,
      inputs: c.inputs.map((v) => v.step),
      dtype,
      dims: tensor.shape,
      build: c.build,
    };
    return this.push(
      step,
      c.inputs,
      {
        bound: c.bound,
        grain,
        kinked: c.inputs.some((v) => v.kinked) || (c.kinked === true && !exactInputs),
        narrow: isHalf(dtype) || c.inputs.some((v) => v.narrow),
      },
      tensor,
    );
  }

  private push(step: Step, inputs: readonly Known[], facts: Facts, built?: Tensor): Known {
    const tensor = built ?? step.build(inputs.map((v) => v.tensor));
    const ancestors = new Set([this.steps.length, ...inputs.flatMap((v) => [...v.ancestors])]);
    const known = { ...facts, step: this.steps.length, ancestors, tensor };
    this.steps.push(step);
    this.known.push(known);
    return known;
  }
}
