import { type Backend, defaultBackend, setDefaultBackend } from "@lowrank/tensor";
import {
  type BackendMemory,
  costOf,
  type DeviceBuffer,
  type Executable,
  type Graph,
  type Group,
  schedule,
  type Target,
} from "@lowrank/tensor/backend";
import { type DryBlock, DryMemory } from "./dry-memory.js";

/** What a group of a plan has to do. */
export interface WorkItem {
  /** "matmul" and "quantizedMatmul" by name; "attention" with its gradient; "other" for all that is bound by memory. */
  readonly kind: "matmul" | "quantizedMatmul" | "attention" | "other";
  readonly flops: number;
  readonly bytes: number;
  /** Rows of a product's left operand: few leave it bound by memory. */
  readonly rows: number;
}

/** What a plan has to do. */
export interface PlanWork {
  readonly items: readonly WorkItem[];
  /** Bytes of its temporaries. */
  readonly arenaBytes: number;
}

export interface DryRun<T> {
  readonly result: T;
  /** Bytes of tensors and temporaries, gaps between them included, at the highest. */
  readonly peakBytes: number;
  /** The plans in the order in which they ran, each as often as it did. */
  readonly runs: readonly PlanWork[];
  /** Resident memory of this process at the highest meanwhile; 0 where that is not to be known, as in a page. */
  readonly residentBytes: number;
}

/** Resident memory of this process, or 0. */
export const residentBytes = (): number => {
  const host = globalThis as { process?: { memoryUsage?: { rss?: () => number } } };
  return host.process?.memoryUsage?.rss?.() ?? 0;
};

/**
 * Runs a program without its numbers: it is planned for the backend in use, and what it would allocate is counted, but
 * nothing is computed and no tensor has memory. Every number read is zero. What the program would take is known in the
 * time that it takes to plan it, whatever the size of its tensors.
 *
 * Everything must happen within `work`, models made or loaded included; tensors from outside and those that outlive it
 * are of another backend. Nothing else may compute meanwhile.
 *
 * @param work is told how many plans have run so far, to know its own parts among them afterwards.
 * @param options.costs Whether plans tell what they have to do, which this process needs memory to find out. Default true.
 */
export async function dryRun<T>(
  work: (runsSoFar: () => number) => Promise<T>,
  { costs = true }: { costs?: boolean } = {},
): Promise<DryRun<T>> {
  const real = await defaultBackend();
  const dry = new DryBackend(real, costs);
  setDefaultBackend(dry);
  try {
    const result = await work(() => dry.runs.length);
    dry.look();
    const { runs, residentBytes: resident } = dry;
    return { result, peakBytes: dry.memory().peakBytes, runs, residentBytes: resident };
  } finally {
    setDefaultBackend(real);
  }
}

class DryBackend implements Backend {
  readonly name: string;
  readonly cheapReads: boolean;
  readonly runs: PlanWork[] = [];
  residentBytes = 0;
  private readonly space = new DryMemory();
  private ownedBytes = 0;
  private arena: { at: number; bytes: number } | null = null;

  constructor(
    private readonly real: Backend,
    private readonly costs: boolean,
  ) {
    this.name = real.name;
    this.cheapReads = real.cheapReads ?? false;
  }

  allocate(bytes: number): DeviceBuffer {
    this.ownedBytes += bytes;
    const block: DryBlock = { bytes, at: this.space.allocate(bytes) };
    return block;
  }

  free(buffer: DeviceBuffer): void {
    this.ownedBytes -= buffer.bytes;
    this.space.release((buffer as DryBlock).at);
  }

  write(): void {}

  read(_buffer: DeviceBuffer, bytes: number): Promise<ArrayBuffer> {
    return Promise.resolve(new ArrayBuffer(bytes));
  }

  prepare(graph: Graph): Executable {
    const plan = this.real.prepare(graph);
    const { peakBytes } = plan;
    plan.dispose();
    const items = this.costs ? schedule(graph, anything).groups.map(workOf) : [];
    const work: PlanWork = { items, arenaBytes: peakBytes };
    return {
      peakBytes,
      run: () => {
        this.runs.push(work);
        this.look();
        this.makeArena(peakBytes);
      },
      explain: () => "",
      dispose: () => {},
    };
  }

  memory(): BackendMemory {
    const arenaBytes = this.arena?.bytes ?? 0;
    return { ownedBytes: this.ownedBytes, arenaBytes, peakBytes: this.space.topBytes };
  }

  /** Notes how much the process holds now. */
  look(): void {
    this.residentBytes = Math.max(this.residentBytes, residentBytes());
  }

  resetPeak(): void {}

  dispose(): void {}

  /** As in the embedded backend, a larger arena takes the place of the one before. */
  private makeArena(bytes: number): void {
    if (bytes <= (this.arena?.bytes ?? 0)) return;
    if (this.arena !== null) this.space.release(this.arena.at);
    this.arena = { at: this.space.allocate(bytes), bytes };
  }
}

/** For costs all that could be a kernel is one; the memory is that of the real plan. */
const anything: Target = {
  supports: () => true,
  layout: () => "any",
  widens: () => true,
  inPlace: (op) => (op.name === "updateSlice" ? 0 : -1),
  maxBindings: 64,
  maxInstructions: 256,
};

function workOf(group: Group): WorkItem {
  const { flops, bytes } = costOf(group);
  const kind =
    group.kind === "loop"
      ? "other"
      : group.name === "matmul" || group.name === "quantizedMatmul"
        ? group.name
        : group.name.startsWith("attention")
          ? "attention"
          : "other";
  const left = group.kind === "kernel" ? group.inputs[0] : undefined;
  const rows = left !== undefined && "value" in left ? (left.dims.at(-2) ?? 1) : 1;
  return { kind, flops, bytes, rows };
}
