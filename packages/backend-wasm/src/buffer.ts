import type { DeviceBuffer } from "@lowrank/tensor/backend";

/** A block of a Wasm memory. */
export class WasmBuffer implements DeviceBuffer {
  constructor(
    readonly bytes: number,
    /** Address, or -1 once freed. */
    public at: number,
    /** Which memory, where there are several. */
    readonly memory = 0,
  ) {}
}
