import type { Backend, DeviceBuffer } from "./device.js";
import { defineOp } from "./op.js";
import type { Parameter } from "./parameter.js";
import type { Storage } from "./storage.js";
import type { Tensor } from "./tensor.js";

/** What a leaf node of a parameter points to: the cell, and the version of its value that was meant. */
export interface CellRef {
  readonly cell: Cell;
  readonly version: number;
}

/** A place in memory that holds a value and can be written again. */
export interface Cell {
  /** Grows by one with each assignment; a leaf of an older version is stale. */
  version: number;
  /** The value, or null while it is still `initial`. */
  storage: Storage | null;
  initial: Tensor | null;
  /** For errors: the path of the parameter, when a module knows it. */
  name: string;
}

/** A leaf that stands for one version of a parameter's value. */
export const cellOp = /* @__PURE__ */ defineOp<CellRef>("cell", {
  kind: "leaf",
  infer: () => {
    throw new Error("a cell leaf is made by Parameter");
  },
  key: () => "",
});

/** A value to be written into a parameter by the evaluation that it is given to. */
export class Assignment {
  /** @internal */
  constructor(
    readonly target: Parameter,
    readonly value: Tensor,
  ) {}
}

/** The device buffer of a cell whose value exists. */
export function cellBuffer(cell: Cell, backend: Backend): DeviceBuffer {
  const buffer = cell.storage!.onDevice(backend);
  cell.storage!.host = null; // the device copy is the one that assignments write
  return buffer;
}
