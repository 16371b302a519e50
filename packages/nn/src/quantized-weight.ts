import {
  type Activations,
  type Assignment,
  ConfigError,
  type DType,
  dequantize,
  dtypeBytes,
  Parameter,
  quantizedMatmul,
  type QuantizedMatmulOptions,
  take,
  type Tensor,
  zeros,
} from "@lowrank/tensor";

/** The parts of a matrix [out, in] in codes; see `dequantize` for what they stand for. */
export interface QuantizedParts {
  /** [out, in] i8 for 8 bits, [out, in / 2] u8 for 4. */
  codes: Tensor;
  /** [out, in / groupSize], a float dtype. */
  scales: Tensor;
  /** [out, in / groupSize], a float dtype. Default: none. */
  mins?: Tensor | null;
  bits: 4 | 8;
  /** Neighbours along `in` that share a scale. */
  groupSize: number;
  /** How products take their left operand, see `quantizedMatmul`. Default: "f32", as it is. */
  activations?: Activations;
}

/** Columns that share a step where the left operand is taken in integers. */
const STEP_COLUMNS = 32;

/**
 * A weight kept in codes: w = scale · q + min, group by group along `in`. Products widen the codes where they multiply, an
 * embedding widens the rows that it takes. To everything else it is a frozen parameter [out, in] of dtype f32: a graph that
 * reads it makes the matrix, and nothing keeps it. It is never trained or assigned.
 *
 * Two layers that share it (a tied head) share the codes.
 */
export class QuantizedWeight extends Parameter {
  readonly codes: Parameter;
  readonly scales: Parameter;
  readonly mins: Parameter | null;
  readonly bits: 4 | 8;
  readonly groupSize: number;
  /**
   * How products take their left operand. Where groups are no multiple of 32 it is taken as it is, whatever this says.
   */
  activations: Activations;
  private whole: Tensor;

  /** @throws ConfigError, DTypeError or ShapeError where the parts do not belong together. */
  constructor({ codes, scales, mins = null, bits, groupSize, activations = "f32" }: QuantizedParts) {
    const whole = dequantize(codes, scales, formatOf(bits, groupSize, mins));
    super(zeros(whole.shape), { trainable: false }); // not `whole`, which would hold the parts a second time
    Object.defineProperty(this, "trainable", { get: () => false, set: () => {}, enumerable: true });
    const frozen = (t: Tensor): Parameter => new Parameter(t, { trainable: false });
    this.codes = frozen(codes);
    this.scales = frozen(scales);
    this.mins = mins === null ? null : frozen(mins);
    this.bits = bits;
    this.groupSize = groupSize;
    this.activations = activations;
    this.whole = this.dense();
  }

  /** The matrix [out, in] as a lazy tensor, made where a graph reads it. */
  dense(dtype: DType = "f32"): Tensor {
    return dequantize(this.codes, this.scales, { ...this.format(), dtype });
  }

  /** y = x Wᵀ for x [..., in], in the dtype of x. */
  product(x: Tensor): Tensor {
    const activations = this.groupSize % STEP_COLUMNS === 0 ? this.activations : "f32";
    return quantizedMatmul(x, this.codes, this.scales, { ...this.format(), activations });
  }

  /** Rows of the matrix at ids [...] i32: [..., in]. */
  rows(ids: Tensor, dtype: DType = "f32"): Tensor {
    const pick = (t: Tensor): Tensor => take(t, ids, 0).reshape([ids.size, t.shape[1]!]);
    const mins = this.mins === null ? null : pick(this.mins);
    const format = formatOf(this.bits, this.groupSize, mins);
    const rows = dequantize(pick(this.codes), pick(this.scales), { ...format, dtype });
    return rows.reshape([...ids.shape, this.shape[1]!]);
  }

  /** The parameters that it is kept in: codes, scales and, if there are any, mins. */
  get parts(): Parameter[] {
    return this.mins === null ? [this.codes, this.scales] : [this.codes, this.scales, this.mins];
  }

  /** Bytes of all parts. */
  get sizeBytes(): number {
    return this.parts.reduce((sum, { size, dtype }) => sum + size * dtypeBytes(dtype), 0);
  }

  /** @internal a graph reads the codes; a matrix that somebody had evaluated is left to them */
  override get node(): Tensor["node"] {
    if (this.whole === undefined) return super.node; // within the constructor of the parent
    if (this.whole.node.storage !== null) this.whole = this.dense();
    return this.whole.node;
  }

  override async rawData(): ReturnType<Parameter["rawData"]> {
    const whole = this.dense();
    const data = await whole.rawData();
    whole.dispose();
    return data;
  }

  override assign(): Assignment {
    throw isFrozen("assign");
  }

  override replace(): void {
    throw isFrozen("replace");
  }

  override dispose(): void {
    for (const part of this.parts) part.dispose();
  }

  private format() {
    return formatOf(this.bits, this.groupSize, this.mins);
  }
}

const formatOf = (bits: 4 | 8, groupSize: number, mins: Tensor | null): QuantizedMatmulOptions =>
  mins === null ? { bits, groupSize } : { bits, groupSize, mins };

const isFrozen = (where: string): ConfigError =>
  new ConfigError({
    where,
    expected: "a parameter in numbers",
    got: "a weight in codes, which is frozen",
    hint: "load the model with a dtype to train or change it",
  });
