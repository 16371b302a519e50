import { DeviceError } from "@lowrank/tensor/backend";
import * as layout from "../assembly/layout.js";
import { compileKernels, unpack } from "./binary.js";
import type { Extension } from "./emit.js";
import { Heap } from "./heap.js";
import type { HostCall, StartHost, WithMachine } from "./host.js";
import { type Linked, linker } from "./linker.js";
import { codeOf, type Stretch } from "./loop-code.js";
import { startThread } from "./threads.js";

const PAGE = 65536;
const FIRST_SCRATCH = 1 << 20;
/**
 * Chunks in a list from which it is worth waking threads that are asleep: some 100 µs of work on one thread. A wake costs
 * the caller some 10 µs, and the thread comes some 50 µs later.
 */
const WAKE_CHUNKS = 6;
/**
 * Lists that follow each other within so many milliseconds find threads awake once one of them has woken them, so a list
 * in such a stream does for any work that can be shared. Shorter than an idle thread polls before it sleeps.
 */
const STREAM_MS = 0.015;
/** Polls of a thread without work before it sleeps: some 30 µs. */
const SPINS = 20_000;
/**
 * The same where a host's library works, some 2 ms: a thread that sleeps comes to a product 0.1 ms late, which is a tenth of one of
 * 512³. Such libraries themselves let their threads go round for 25 ms (OpenBLAS) to 200 ms (OpenMP).
 */
const HOST_SPINS = 1_400_000;
/** Room for the code of some two hundred different loops; a limit for programs whose loops never repeat. */
const CODE_BYTES = 1 << 17;
/** Room behind it for the places of extensions, 8 bytes each. */
const EXTENSION_BYTES = 1 << 10;
/** Some browsers refuse to compile more at once on the main thread. */
const LONGEST_CODE = 4096;

interface KernelExports {
  runList(list: number, count: number, wake: number): void;
  heapBase(): number;
}

export interface MachineOptions {
  readonly threads: number;
  readonly maxMemoryBytes: number;
  readonly host?: StartHost | undefined;
}

/** Whether there may be other threads: those of a host too. */
const isShared = ({ threads, host }: MachineOptions): boolean => threads > 1 || !!host;

/** The Wasm instance, its memory and its threads. */
export class Machine {
  readonly heap: Heap;
  /** Where temporaries of the running plan live, and how many bytes there are. */
  arenaBase = 0;
  arenaBytes = 0;
  /** Grows by one whenever the arena moves. */
  arenaMoves = 0;
  private scratchBase = 0;
  private scratchBytes = 0;
  private readonly codes = new Map<string | Extension, number>();
  private codeFull = false;
  private codeAt = 0;
  private codeBytes = 0;
  failure: unknown;
  private readonly workers: ReturnType<typeof startThread>[] = [];
  private startedThreads = 1;
  /** When the last list ended. */
  private lastEnd = 0;
  /** Where lists run, if not on the caller: see `WithMachine`. */
  declare apart?: WithMachine["machine"]["apart"];

  static async create(options: MachineOptions): Promise<Machine> {
    const shared = isShared(options);
    const { module, relaxed } = await compileKernels(shared);
    const { memory, maximum } = makeMemory(shared, Math.ceil(options.maxMemoryBytes / PAGE));
    const linked: Linked = { table: null, host: options.host?.(memory, module, maximum * PAGE) };
    const link = linker(memory, layout.CODE, linked);
    const instance = await WebAssembly.instantiate(module, {
      env: { memory, link },
      Math: Math as unknown as WebAssembly.ModuleImports,
    });
    linked.table = instance.exports.table as WebAssembly.Table;
    const kernels = instance.exports as unknown as KernelExports;
    const machine = new Machine(module, memory, kernels, relaxed, link, linked.host, options);
    const started = await Promise.all(machine.workers.map((worker) => worker.started));
    machine.startedThreads += started.filter((up) => up).length;
    return machine;
  }

  private constructor(
    module: WebAssembly.Module,
    memory: WebAssembly.Memory,
    private readonly kernels: KernelExports,
    /** Whether multiply-add rounds once. */
    readonly relaxed: boolean,
    private readonly link: () => number,
    private readonly host: HostCall | undefined,
    readonly options: MachineOptions,
  ) {
    this.heap = new Heap(memory, kernels.heapBase(), options.maxMemoryBytes);
    this.ensureScratch(FIRST_SCRATCH);
    this.heap.i32[layout.THREADS >> 2] = options.threads;
    this.heap.i32[layout.IDLE_SPINS >> 2] = options.host ? HOST_SPINS : SPINS;
    const { ACTIVE: active, POISON: poison, CODE: code } = layout;
    for (let thread = 1; thread < options.threads; thread++) {
      this.workers.push(startThread({ module, memory, thread, active, poison, code }, options.host));
    }
  }

  /** Threads, the caller included: those asked for, less those that a browser refused to start. */
  get threads(): number {
    return this.startedThreads;
  }

  /** Threads beside the caller that have come up. */
  get arrived(): number {
    return Atomics.load(this.heap.i32, layout.ARRIVED >> 2);
  }

  /** Gives every thread at least `bytes` of scratch. */
  ensureScratch(bytes: number): void {
    if (bytes <= this.scratchBytes) return;
    const each = Math.ceil(bytes / 4096) * 4096;
    const base = this.heap.allocate(each * this.options.threads, "scratch");
    if (this.scratchBase) this.heap.free(this.scratchBase);
    this.scratchBase = base;
    this.scratchBytes = each;
    this.heap.i32[layout.SCRATCH >> 2] = base;
    this.heap.i32[(layout.SCRATCH >> 2) + 1] = each;
  }

  /** Makes the arena at least `bytes` large; what was in it is lost. */
  ensureArena(bytes: number): void {
    if (bytes <= this.arenaBytes) return;
    this.releaseArena();
    this.arenaBase = this.heap.allocate(bytes, "evaluate");
    this.arenaBytes = this.heap.sizeOf(this.arenaBase);
    this.arenaMoves++;
  }

  releaseArena(): void {
    if (this.arenaBytes) this.heap.free(this.arenaBase);
    this.arenaBase = this.arenaBytes = 0;
  }

  /**
   * The number in the function tables of the code of a stretch, made at its first use. Null where there is no more room for
   * code, or where the engine takes none: then the interpreter runs it.
   */
  code(stretch: Stretch): number | null {
    const binary = codeOf(stretch, { shared: isShared(this.options), relaxed: this.relaxed });
    if (binary.length > LONGEST_CODE) return null;
    const key = String.fromCharCode(...binary);
    const known = this.codes.get(key);
    if (known !== undefined) return known;
    const bytes = 4 + Math.ceil(binary.length / 4) * 4;
    if (this.codeFull || this.codeBytes + bytes > CODE_BYTES) return null;
    try {
      return this.addCode(key, bytes, (at) => {
        this.heap.i32[at >> 2] = binary.length;
        this.heap.u8.set(binary, at + 4);
      });
    } catch {
      this.codeFull = true; // it will not be better next time
      return null;
    }
  }

  /** The number in the function tables of the kernels of another package, linked at its first use. */
  extension(extension: Extension): number {
    const known = this.codes.get(extension);
    if (known !== undefined) return known;
    const binary =
      "binary" in extension
        ? extension.binary
        : unpack(extension, { shared: isShared(this.options), relaxed: this.relaxed });
    const place = this.heap.allocate(binary.length, "an extension");
    this.heap.u8.set(binary, place);
    try {
      return this.addCode(extension, 8, (at) => this.heap.i32.set([-binary.length, place], at >> 2));
    } catch (cause) {
      this.heap.free(place);
      throw new DeviceError({
        where: "wasm",
        expected: "an engine that links kernels while a plan is made",
        got: String(cause),
        hint: "run in a worker",
        cause,
      });
    }
  }

  /** Appends an entry to the list that the linker reads, and links it here. */
  private addCode(key: string | Extension, bytes: number, write: (at: number) => void): number {
    const count = this.codes.size;
    this.codeAt ||= this.heap.allocate(CODE_BYTES + EXTENSION_BYTES, "code of loops");
    write(this.codeAt + this.codeBytes);
    this.heap.i32.set([this.codeAt, count + 1], layout.CODE >> 2);
    try {
      const number = this.link() - 1;
      this.codes.set(key, number);
      this.codeBytes += bytes;
      return number;
    } catch (error) {
      this.heap.i32[(layout.CODE >> 2) + 1] = count;
      throw error;
    }
  }

  /**
   * Runs a list of commands in memory: triples of kernel, args, chunks.
   *
   * @param weight chunks of the commands that threads can share
   */
  runList(list: number, count: number, weight: number): void | Promise<void> {
    this.expectAlive();
    if (this.apart) return this.apart(list, count);
    const wake = weight >= WAKE_CHUNKS || (weight > 0 && performance.now() - this.lastEnd < STREAM_MS);
    try {
      if (wake) this.host?.lead?.();
      this.kernels.runList(list, count, Number(wake));
    } catch (cause) {
      this.failure = cause;
      this.expectAlive();
    }
    this.lastEnd = performance.now();
  }

  dispose(): void {
    this.failure ??= "disposed";
    Atomics.store(this.heap.i32, layout.QUIT >> 2, 1);
    Atomics.add(this.heap.i32, layout.EPOCH >> 2, 2);
    Atomics.notify(this.heap.i32, layout.EPOCH >> 2);
    for (const worker of this.workers.splice(0)) worker.stop();
  }

  private expectAlive(): void {
    if (this.failure === undefined) return;
    const disposed = this.failure === "disposed";
    throw new DeviceError({
      where: "wasm",
      expected: "a backend that works",
      got: disposed ? "one that was disposed" : `one whose kernel stopped (${String(this.failure)})`,
      hint: disposed ? "make a new one with await wasm()" : "this is a bug of ours; please report it",
      cause: this.failure,
    });
  }
}

/** Address space for a shared memory is reserved at once, so a smaller reserve is tried where the largest is refused. */
function makeMemory(shared: boolean, pages: number): { memory: WebAssembly.Memory; maximum: number } {
  const initial = 16;
  for (let maximum = Math.max(initial, Math.min(65536, pages)); ; maximum = Math.max(initial, maximum >> 1)) {
    try {
      return { memory: new WebAssembly.Memory({ initial, maximum, shared }), maximum };
    } catch (cause) {
      if (maximum > 1024) continue;
      throw new DeviceError({
        where: "wasm",
        expected: `${maximum * PAGE} bytes of address space`,
        got: "a refusal by the engine",
        cause,
      });
    }
  }
}
