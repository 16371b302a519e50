import type { HostArray } from "./dtype.js";
import type { Graph } from "./graph.js";

/** Memory on a device. What is inside belongs to the backend. */
export interface DeviceBuffer {
  readonly bytes: number;
}

/** What one run of a plan reads and writes. */
export interface Bindings {
  /** For each leaf slot: a device buffer of this backend, or host numbers to copy in. */
  readonly leaves: readonly (DeviceBuffer | HostArray)[];
  /** For each scalar slot its value. */
  readonly scalars: Float64Array;
  /** For each root its buffer; null where the root is written into a parameter or is returned on the host. */
  readonly roots: readonly DeviceBuffer[];
}

/** A plan that can be run again and again with other buffers and scalars. */
export interface Executable {
  /** Bytes of temporaries at once. */
  readonly peakBytes: number;
  run(bindings: Bindings): void | Promise<void>;
  /** The groups of the plan in order, as text that can be compared. */
  explain(): string;
  dispose(): void;
}

export interface BackendMemory {
  /** Bytes in buffers handed out and not yet freed. */
  readonly ownedBytes: number;
  /** Bytes held for temporaries of plans. */
  readonly arenaBytes: number;
  /** Highest sum of both since the start or the last `resetPeak`. */
  readonly peakBytes: number;
}

/**
 * What a device must be able to do. A backend turns a graph into an executable by itself; `schedule` of this package
 * does the fusion and the memory plan for those that want it.
 */
export interface Backend {
  readonly name: string;
  /** True where reading a small value back at once costs next to nothing (memory shared with the host). */
  readonly cheapReads?: boolean;
  allocate(bytes: number): DeviceBuffer;
  free(buffer: DeviceBuffer): void;
  write(buffer: DeviceBuffer, data: HostArray, byteOffset?: number): void;
  read(buffer: DeviceBuffer, bytes: number): Promise<ArrayBuffer>;
  prepare(graph: Graph): Executable;
  memory(): BackendMemory;
  resetPeak(): void;
  /** Where the backend profiles: told of each piece of work on the host as it ends, and when it began (`performance.now()`). */
  hostWork?(name: string, beganMs: number): void;
  dispose(): void | Promise<void>;
}
