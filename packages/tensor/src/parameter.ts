import { Assignment, type Cell, type CellRef, cellOp } from "./cell.js";
import type { Backend, DeviceBuffer } from "./device.js";
import { type HostArray, isFloat } from "./dtype.js";
import { DTypeError, ShapeError } from "./errors.js";
import { evaluate } from "./evaluate.js";
import { Node } from "./node.js";
import { cast } from "./ops/elementwise.js";
import { sameDims, showDims } from "./shape.js";
import { Storage } from "./storage.js";
import { Tensor } from "./tensor.js";

export interface ParameterOptions {
  /** Whether `gradients` of a module and optimisers consider it. Default: true for float dtypes. */
  trainable?: boolean;
  name?: string;
}

/**
 * A tensor that owns its storage and can be assigned: the only mutable thing of the core. Used in an op it stands for
 * its value of now; an assignment takes effect when it is evaluated, and then writes into the same memory.
 *
 * A lazy tensor that was built on an older version and not yet computed is refused with a `StaleError`: evaluate it
 * together with the assignment, or before.
 */
export class Parameter extends Tensor {
  trainable: boolean;
  /** @internal */
  readonly cell: Cell;

  constructor(init: Tensor, options: ParameterOptions = {}) {
    const cell: Cell = { version: 0, storage: null, initial: init, name: options.name ?? "" };
    super(leafOf(cell, init));
    this.cell = cell;
    this.trainable = options.trainable ?? isFloat(init.dtype);
  }

  /**
   * A new value for this parameter, to be passed to `evaluate`. It must have the parameter's shape; another float dtype is cast.
   *
   * @example
   * ```ts
   * await evaluate(weight.assign(weight.sub(gradient.mul(0.1))));
   * ```
   */
  assign(value: Tensor): Assignment {
    this.expectFits("assign", value);
    return new Assignment(this, value.dtype === this.dtype ? value : cast(value, this.dtype));
  }

  /** Takes another value at once, forgetting the present one: for loading. Pending tensors built on this one become stale. */
  replace(value: Tensor): void {
    this.expectFits("replace", value);
    this.cell.storage?.dispose();
    this.cell.storage = null;
    this.cell.initial = value.dtype === this.dtype ? value : cast(value, this.dtype);
    this.cell.version++;
    this.current = leafOf(this.cell, this);
  }

  /** @internal holds its value in another buffer from now on */
  take(backend: Backend, buffer: DeviceBuffer): void {
    this.cell.storage?.dispose();
    this.cell.storage = new Storage(this.dtype, this.size, null);
    this.cell.storage.own(backend, buffer);
    this.cell.initial = null;
  }

  /** @internal called when an evaluation has written a new version */
  commit(): void {
    this.cell.version++;
    this.current = leafOf(this.cell, this);
  }

  override async rawData(): Promise<HostArray> {
    await evaluate(this);
    // A copy: the storage is overwritten by later assignments.
    return (await this.cell.storage!.read()).slice();
  }

  override dispose(): void {
    this.cell.storage?.dispose();
  }

  private expectFits(where: string, value: Tensor): void {
    if (!sameDims(value.shape, this.shape)) {
      throw new ShapeError({
        where: this.cell.name ? `${where} to ${this.cell.name}` : where,
        expected: `shape ${showDims(this.shape)}`,
        got: showDims(value.shape),
      });
    }
    if (value.dtype !== this.dtype && !(isFloat(value.dtype) && isFloat(this.dtype))) {
      throw new DTypeError({ where, expected: this.dtype, got: value.dtype, hint: "cast with .astype(...)" });
    }
  }
}

const leafOf = (cell: Cell, like: Tensor): Node =>
  new Node(cellOp, like.node.dtype, like.node.shape, { cell, version: cell.version } satisfies CellRef, []);

/** Makes a tensor into a parameter: a value of its own that can be assigned. */
export function parameter(init: Tensor, options?: ParameterOptions): Parameter {
  return new Parameter(init, options);
}
