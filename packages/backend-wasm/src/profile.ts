import type { Group } from "@lowrank/tensor/backend";
import { type Cost, costOf } from "./profile-cost.js";

/** Time spent in the fused groups of one name and shape, or in one kind of work on the host. */
export interface ProfileRow extends Cost {
  /** "matmul of 8×8, 8×8", "mul+add over 4096"; for the host "schedule", "encode", "bind" and the like. */
  readonly name: string;
  /** Kernels ("group"), or JavaScript between them ("host"). */
  readonly kind: "group" | "host";
  readonly runs: number;
  readonly ms: number;
  /** Part of the time of all rows: the shares of one call sum to 1. */
  readonly share: number;
  /** `bytes`, of all runs, over the time. Above the speed of memory where the caches serve. 0 for the host. */
  readonly gbPerSecond: number;
  /** `flops`, of all runs, over the time. 0 for the host. */
  readonly gflopsPerSecond: number;
}

/** One run of a group, or one piece of work on the host. */
export interface ProfileSpan extends Cost {
  readonly name: string;
  readonly kind: "group" | "host";
  /** On the clock of `performance.now()`. */
  readonly beganMs: number;
  readonly ms: number;
}

export interface ProfileTimeline {
  readonly spans: readonly ProfileSpan[];
  /** Spans that came after the first 200,000 and were not kept. */
  readonly dropped: number;
}

const MOST_SPANS = 200_000;
const NOTHING: Cost = { bytes: 0, flops: 0 };

interface Label extends Cost {
  readonly name: string;
}

interface Sum {
  readonly name: string;
  readonly kind: ProfileRow["kind"];
  runs: number;
  ms: number;
  bytes: number;
  flops: number;
}

/** Adds up the time of groups by name and shape, and of work on the host by name; keeps the spans in their order. */
export class Profile {
  private readonly sums = new Map<string, Sum>();
  private readonly labels = new WeakMap<Group, Label>();
  private spans: ProfileSpan[] = [];
  private dropped = 0;

  /** A group has run since `beganMs`. */
  group(group: Group, beganMs: number): void {
    const ms = performance.now() - beganMs;
    let label = this.labels.get(group);
    if (!label) this.labels.set(group, (label = { name: nameOf(group), ...costOf(group) }));
    this.add("group", label, beganMs, ms);
  }

  /** Work on the host has gone on since `beganMs`. */
  host(name: string, beganMs: number): void {
    this.add("host", { name, ...NOTHING }, beganMs, performance.now() - beganMs);
  }

  /** The rows, the most expensive first; starts counting anew. */
  take(): ProfileRow[] {
    const sums = [...this.sums.values()].sort((a, b) => b.ms - a.ms);
    const total = sums.reduce((ms, sum) => ms + sum.ms, 0);
    this.sums.clear();
    const perSecond = (count: number, ms: number): number => (ms > 0 ? count / (ms * 1e6) : 0);
    return sums.map((sum) => ({
      ...sum,
      share: total > 0 ? sum.ms / total : 1 / sums.length,
      gbPerSecond: perSecond(sum.bytes, sum.ms),
      gflopsPerSecond: perSecond(sum.flops, sum.ms),
    }));
  }

  /** The spans since the last call. */
  takeTimeline(): ProfileTimeline {
    const { spans, dropped } = this;
    this.spans = [];
    this.dropped = 0;
    return { spans, dropped };
  }

  private add(kind: ProfileRow["kind"], { name, bytes, flops }: Label, beganMs: number, ms: number): void {
    const key = `${kind} ${name}`;
    let sum = this.sums.get(key);
    if (!sum) this.sums.set(key, (sum = { name, kind, runs: 0, ms: 0, bytes: 0, flops: 0 }));
    sum.runs++;
    sum.ms += ms;
    sum.bytes += bytes;
    sum.flops += flops;
    if (this.spans.length < MOST_SPANS) this.spans.push({ name, kind, beganMs, ms, bytes, flops });
    else this.dropped++;
  }
}

function nameOf(group: Group): string {
  if (group.kind === "loop") return `${group.name} over ${group.space.join("×") || "1"}`;
  const shapes = group.inputs.map((input) => ("value" in input ? input.dims.join("×") : "scalar"));
  return `${group.name} of ${shapes.join(", ")}`;
}
