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
  Profile,
  type ProfileRow,
  type ProfileTimeline,
} from "@lowrank/tensor/backend";
import { WasmBuffer } from "./buffer.js";
import { type EmitGroup, emitGroup } from "./emit-group.js";
import { Plan } from "./executor.js";
import type { Replaceable, StartHost } from "./host.js";
import { Machine } from "./machine.js";
import { SpreadPlan } from "./spread-plan.js";
import { target } from "./target.js";
import { canBlock, defaultThreads } from "./threads.js";

/** Bytes of one WebAssembly memory, and the most memories. */
const SMALLEST_MEMORY = 1 << 20;
const LARGEST_MEMORY = 2 ** 32;
const MOST_MEMORIES = 256;
/** Part of each of several memories that is left to temporaries while there is room elsewhere. */
const LEFT_FREE = 0.25;

export interface WasmOptions {
  /**
   * Threads, the caller included, from 1 to 64. Default: in Node the variable LOWRANK_THREADS, else the cores up to 8; in a
   * browser the cores up to 8 if the page is cross-origin isolated and the caller is a worker, else 1. Results do not
   * depend on it.
   */
  threads?: number;
  /**
   * Most bytes of memory, from 1 MiB to 1 TiB. Default: 4 GiB, which is one WebAssembly memory. Beyond that there are several, so
   * one tensor still has at most 4 GiB; what an operation needs from other memories is copied for it. They grow as they
   * are needed.
   */
  maxMemoryBytes?: number;
  /** Whether to measure the time of each group of every plan, and of the host's work. Default: false. */
  profile?: boolean;
  /** @internal functions outside of WebAssembly: see `@lowrank/backend-wasm/host` */
  host?: StartHost;
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
  expectInteger("maxMemoryBytes", maxMemoryBytes, SMALLEST_MEMORY, LARGEST_MEMORY * MOST_MEMORIES);
  if (threads > 1 && !canBlock()) {
    throw new ConfigError({
      where: "wasm",
      expected:
        "threads to be 1 where shared memory is missing or the caller must not wait (the main thread of a page)",
      got: String(threads),
      hint: "run in a worker of a cross-origin isolated page",
    });
  }
  const memories: number[] = [];
  for (let left = maxMemoryBytes; left > 0; left -= LARGEST_MEMORY) {
    if (left >= SMALLEST_MEMORY || memories.length === 0) memories.push(Math.min(left, LARGEST_MEMORY));
  }
  const backend = await startEmbedded({ ...options, threads, memories });
  if (options.threads !== undefined && backend.threads < threads) {
    const got = backend.threads;
    backend.dispose();
    throw new DeviceError({
      where: "wasm",
      expected: `${threads} threads`,
      got: `${got}, the others could not be started`,
      hint: "let the Content-Security-Policy of the page allow worker-src 'self', and serve dist/thread.js of this package beside the bundle",
    });
  }
  return backend;
}

/** @internal the backend over memories of these sizes, in bytes */
export async function startEmbedded(options: {
  threads: number;
  memories: readonly number[];
  profile?: boolean;
  host?: StartHost;
}): Promise<WasmBackend> {
  const { threads, memories, profile = false, host } = options;
  const machines: Machine[] = [];
  try {
    for (const maxMemoryBytes of memories)
      machines.push(await Machine.create({ threads, maxMemoryBytes, host }));
  } catch (error) {
    for (const machine of machines) machine.dispose();
    throw error;
  }
  return new EmbeddedBackend(machines, profile ? new Profile() : null);
}

class EmbeddedBackend implements WasmBackend, Replaceable {
  readonly name = "wasm";
  // Its memory is the host's: small results move there at once, and steps leave nothing behind.
  readonly cheapReads = true;
  readonly hostWork?: (name: string, beganMs: number) => void;
  private ownedBytes = 0;
  private peak = 0;

  readonly machine: Machine;
  target = target;
  emit: EmitGroup = emitGroup;

  constructor(
    /** One for each memory. */
    private readonly machines: readonly Machine[],
    private readonly timing: Profile | null,
  ) {
    this.machine = machines[0]!;
    if (timing) this.hostWork = (name, beganMs) => timing.host(name, beganMs);
  }

  get threads(): number {
    return Math.min(...this.machines.map((machine) => machine.threads));
  }

  get relaxed(): boolean {
    return this.machine.relaxed;
  }

  allocate(bytes: number): DeviceBuffer {
    this.notePeak();
    const memory = this.memoryFor(bytes);
    const buffer = new WasmBuffer(bytes, allocateBlock(this.machines[memory]!, bytes), memory);
    this.ownedBytes += this.heapOf(buffer).sizeOf(buffer.at);
    return buffer;
  }

  free(buffer: DeviceBuffer): void {
    const block = this.alive(buffer, "free");
    this.notePeak();
    const heap = this.heapOf(block);
    this.ownedBytes -= heap.sizeOf(block.at);
    heap.free(block.at);
    block.at = -1;
  }

  write(buffer: DeviceBuffer, data: HostArray, byteOffset = 0): void {
    const block = this.alive(buffer, "write");
    expectWithin("write", byteOffset, data.byteLength, block.bytes);
    this.heapOf(block).u8.set(
      new Uint8Array(data.buffer, data.byteOffset, data.byteLength),
      block.at + byteOffset,
    );
  }

  async read(buffer: DeviceBuffer, bytes: number): Promise<ArrayBuffer> {
    const block = this.alive(buffer, "read");
    expectWithin("read", 0, bytes, block.bytes);
    return this.heapOf(block).u8.slice(block.at, block.at + bytes).buffer as ArrayBuffer;
  }

  prepare(graph: Graph): Executable {
    const began = performance.now();
    const groups = schedule(graph, this.target);
    this.timing?.host("schedule", began);
    const scheduled = performance.now();
    const plan =
      this.machines.length > 1
        ? new SpreadPlan(this.machines, groups, this.emit, this.timing)
        : new Plan(this.machine, groups, this.emit, this.timing);
    this.timing?.host("encode", scheduled);
    return plan;
  }

  memory(): BackendMemory {
    this.notePeak();
    return { ownedBytes: this.ownedBytes, arenaBytes: this.arenaBytes, peakBytes: this.peak };
  }

  resetPeak(): void {
    this.peak = this.ownedBytes + this.arenaBytes;
  }

  profile(): ProfileRow[] {
    return this.timing?.take() ?? [];
  }

  timeline(): ProfileTimeline {
    return this.timing?.takeTimeline() ?? { spans: [], dropped: 0 };
  }

  dispose(): void {
    for (const machine of this.machines) machine.dispose();
  }

  private get arenaBytes(): number {
    return this.machines.reduce((sum, machine) => sum + machine.arenaBytes, 0);
  }

  private heapOf({ memory }: WasmBuffer): Machine["heap"] {
    return this.machines[memory]!.heap;
  }

  /** The first memory that keeps a part of itself free, else the emptiest. */
  private memoryFor(bytes: number): number {
    if (this.machines.length === 1) return 0;
    const limitBytes = Math.max(...this.machines.map(({ heap }) => heap.limitBytes));
    if (bytes > limitBytes) {
      throw new DeviceError({
        where: "allocate on wasm",
        expected: `a tensor of at most ${limitBytes} bytes, which is the largest of ${this.machines.length} memories`,
        got: `one of ${bytes} bytes`,
        hint: "split it along its first axis",
      });
    }
    const left = this.machines.map(
      ({ heap, arenaBytes }) => heap.limitBytes - heap.usedBytes + arenaBytes - bytes,
    );
    const roomy = left.findIndex((n, i) => n >= LEFT_FREE * this.machines[i]!.heap.limitBytes);
    return roomy >= 0 ? roomy : left.indexOf(Math.max(...left));
  }

  private alive(buffer: DeviceBuffer, where: string): WasmBuffer {
    if (buffer instanceof WasmBuffer && buffer.at >= 0) return buffer;
    throw new DeviceError({
      where: `${where} on wasm`,
      expected: "a live buffer of this backend",
      got: buffer instanceof WasmBuffer ? "one that was freed" : "one of another backend",
    });
  }

  /** Called before anything shrinks, and when somebody asks: what plans take of the arena stays until then. */
  private notePeak(): void {
    this.peak = Math.max(this.peak, this.ownedBytes + this.arenaBytes);
  }
}

/** When a memory is full, its arena, which the next plan makes anew, is given up first. */
function allocateBlock(machine: Machine, bytes: number): number {
  try {
    return machine.heap.allocate(bytes, "allocate");
  } catch (error) {
    if (machine.arenaBytes === 0) throw error;
    machine.releaseArena();
    return machine.heap.allocate(bytes, "allocate");
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
