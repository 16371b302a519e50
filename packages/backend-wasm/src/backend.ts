import {
  type Backend,
  type BackendMemory,
  ConfigError,
  type DeviceBuffer,
  DeviceError,
  type Executable,
  type Graph,
  type HostArray,
  schedule,
} from "@lowrank/tensor/backend";
import { WasmBuffer } from "./buffer.js";
import { emitGroup } from "./emit-group.js";
import { Plan } from "./executor.js";
import { Machine } from "./machine.js";
import { Profile, type ProfileRow, type ProfileTimeline } from "./profile.js";
import { target } from "./target.js";
import { canBlock, defaultThreads } from "./threads.js";

const LARGEST_MEMORY = 2 ** 32;

export interface WasmOptions {
  /**
   * Threads, the caller included, from 1 to 64. Default: in Node the variable LOWRANK_THREADS, else the cores up to 8; in a
   * browser the cores up to 8 if the page is cross-origin isolated and the caller is a worker, else 1. Results do not
   * depend on it.
   */
  threads?: number;
  /** Most bytes of memory, from 1 MiB to 4 GiB. Default: 4 GiB. It grows as it is needed. */
  maxMemoryBytes?: number;
  /** Whether to measure the time of each group of every plan, and of the host's work. Default: false. */
  profile?: boolean;
}

/** The embedded backend. */
export interface WasmBackend extends Backend {
  /** Threads, the caller included. */
  readonly threads: number;
  /** Whether the engine has fused multiply-add (relaxed SIMD). */
  readonly relaxed: boolean;
  /**
   * Time per fused group and kind of host work since the last call, the most expensive first, with bytes and operations
   * per second; empty without the option `profile`. `formatProfile` prints it.
   */
  profile(): ProfileRow[];
  /**
   * Each run of a group and each piece of host work since the last call, in order; empty without the option `profile`.
   * `chromeTrace` makes a file of it that opens in chrome://tracing and Perfetto.
   */
  timeline(): ProfileTimeline;
}

/**
 * Starts the embedded backend: WebAssembly with 128-bit SIMD, on threads where they can be had.
 *
 * @throws ConfigError if an option is out of range
 * @throws DeviceError if the engine has no WebAssembly SIMD or refuses the address space, or if a browser starts fewer
 * threads than were asked for (by default those are used that start)
 */
export async function wasm(options: WasmOptions = {}): Promise<WasmBackend> {
  const { maxMemoryBytes = LARGEST_MEMORY, threads = defaultThreads() } = options;
  expectInteger("threads", threads, 1, 64);
  expectInteger("maxMemoryBytes", maxMemoryBytes, 1 << 20, LARGEST_MEMORY);
  if (threads > 1 && !canBlock()) {
    throw new ConfigError({
      where: "wasm",
      expected:
        "threads to be 1 where shared memory is missing or the caller must not wait (the main thread of a page)",
      got: String(threads),
      hint: "run in a worker of a cross-origin isolated page",
    });
  }
  const machine = await Machine.create({ threads, maxMemoryBytes });
  if (options.threads !== undefined && machine.threads < threads) {
    machine.dispose();
    throw new DeviceError({
      where: "wasm",
      expected: `${threads} threads`,
      got: `${machine.threads}, the others could not be started`,
      hint: "let the Content-Security-Policy of the page allow worker-src 'self', and serve dist/thread.js of this package beside the bundle",
    });
  }
  return new EmbeddedBackend(machine, options.profile ? new Profile() : null);
}

class EmbeddedBackend implements WasmBackend {
  readonly name = "wasm";
  // Its memory is the host's: small results move there at once, and steps leave nothing behind.
  readonly cheapReads = true;
  readonly hostWork?: (name: string, beganMs: number) => void;
  private ownedBytes = 0;
  private peak = 0;

  constructor(
    private readonly machine: Machine,
    private readonly timing: Profile | null,
  ) {
    if (timing) this.hostWork = (name, beganMs) => timing.host(name, beganMs);
  }

  get threads(): number {
    return this.machine.threads;
  }

  get relaxed(): boolean {
    return this.machine.relaxed;
  }

  allocate(bytes: number): DeviceBuffer {
    const buffer = new WasmBuffer(bytes, this.allocateBlock(bytes));
    this.ownedBytes += this.machine.heap.sizeOf(buffer.at);
    this.notePeak();
    return buffer;
  }

  free(buffer: DeviceBuffer): void {
    const block = this.alive(buffer, "free");
    this.ownedBytes -= this.machine.heap.sizeOf(block.at);
    this.machine.heap.free(block.at);
    block.at = -1;
  }

  write(buffer: DeviceBuffer, data: HostArray, byteOffset = 0): void {
    const block = this.alive(buffer, "write");
    expectWithin("write", byteOffset, data.byteLength, block.bytes);
    this.machine.heap.u8.set(
      new Uint8Array(data.buffer, data.byteOffset, data.byteLength),
      block.at + byteOffset,
    );
  }

  async read(buffer: DeviceBuffer, bytes: number): Promise<ArrayBuffer> {
    const block = this.alive(buffer, "read");
    expectWithin("read", 0, bytes, block.bytes);
    return this.machine.heap.u8.slice(block.at, block.at + bytes).buffer as ArrayBuffer;
  }

  prepare(graph: Graph): Executable {
    const began = performance.now();
    const groups = schedule(graph, target);
    this.timing?.host("schedule", began);
    const scheduled = performance.now();
    const plan = new Plan(this.machine, groups, emitGroup, this.timing);
    this.timing?.host("encode", scheduled);
    const run = plan.run.bind(plan);
    plan.run = (bindings) => {
      run(bindings);
      this.notePeak();
    };
    return plan;
  }

  memory(): BackendMemory {
    return { ownedBytes: this.ownedBytes, arenaBytes: this.machine.arenaBytes, peakBytes: this.peak };
  }

  resetPeak(): void {
    this.peak = this.ownedBytes + this.machine.arenaBytes;
  }

  profile(): ProfileRow[] {
    return this.timing?.take() ?? [];
  }

  timeline(): ProfileTimeline {
    return this.timing?.takeTimeline() ?? { spans: [], dropped: 0 };
  }

  dispose(): void {
    this.machine.dispose();
  }

  /** When the memory is full, the arena, which the next plan makes anew, is given up first. */
  private allocateBlock(bytes: number): number {
    try {
      return this.machine.heap.allocate(bytes, "allocate");
    } catch (error) {
      if (this.machine.arenaBytes === 0) throw error;
      this.machine.releaseArena();
      return this.machine.heap.allocate(bytes, "allocate");
    }
  }

  private alive(buffer: DeviceBuffer, where: string): WasmBuffer {
    if (buffer instanceof WasmBuffer && buffer.at >= 0) return buffer;
    throw new DeviceError({
      where: `${where} on wasm`,
      expected: "a live buffer of this backend",
      got: buffer instanceof WasmBuffer ? "one that was freed" : "one of another backend",
    });
  }

  private notePeak(): void {
    this.peak = Math.max(this.peak, this.ownedBytes + this.machine.arenaBytes);
  }
}

function expectInteger(name: string, value: number, low: number, high: number): void {
  if (Number.isInteger(value) && value >= low && value <= high) return;
  throw new ConfigError({
    where: "wasm",
    expected: `${name} to be an integer from ${low} to ${high}`,
    got: String(value),
  });
}

function expectWithin(where: string, from: number, bytes: number, size: number): void {
  if (from >= 0 && from + bytes <= size) return;
  throw new DeviceError({
    where: `${where} on wasm`,
    expected: `a range within a buffer of ${size} bytes`,
    got: `${bytes} bytes from ${from}`,
  });
}
