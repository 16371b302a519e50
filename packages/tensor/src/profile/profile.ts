import type { Group } from "../schedule/ir.js";
import { type Cost, costOf, groupName } from "./cost.js";

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

interface Sum extends Cost {
  readonly name: string;
  readonly kind: ProfileRow["kind"];
  runs: number;
  ms: number;
  bytes: number;
  flops: number;
}

/** A span as it is kept: little is done while plans run. */
interface Mark {
  readonly sum: Sum;
  readonly cost: Cost;
  readonly beganMs: number;
  readonly ms: number;
}

/** Adds up the time of groups by name and shape, and of work on the host by name; keeps the spans in their order. */
export class Profile {
  private readonly sums = new Map<string, Sum>();
  private readonly groups = new WeakMap<Group, { sum: Sum; cost: Cost }>();
  private marks: Mark[] = [];
  private dropped = 0;

  /** A group has run since `beganMs`, for `ms`. */
  group(group: Group, beganMs: number, ms = performance.now() - beganMs): void {
    let known = this.groups.get(group);
    if (!known)
      this.groups.set(group, (known = { sum: this.sumOf("group", groupName(group)), cost: costOf(group) }));
    this.add(known.sum, known.cost, beganMs, ms);
  }

  /** Work on the host has gone on since `beganMs`. */
  host(name: string, beganMs: number): void {
    const ms = performance.now() - beganMs;
    this.add(this.sumOf("host", name), NOTHING, beganMs, ms);
  }

  /** The rows, the most expensive first; starts counting anew. */
  take(): ProfileRow[] {
    const sums = [...this.sums.values()].filter((sum) => sum.runs > 0).sort((a, b) => b.ms - a.ms);
    const total = sums.reduce((ms, sum) => ms + sum.ms, 0);
    const perSecond = (count: number, ms: number): number => (ms > 0 ? count / (ms * 1e6) : 0);
    const rows = sums.map((sum) => ({
      ...sum,
      share: total > 0 ? sum.ms / total : 1 / sums.length,
      gbPerSecond: perSecond(sum.bytes, sum.ms),
      gflopsPerSecond: perSecond(sum.flops, sum.ms),
    }));
    for (const sum of sums) sum.runs = sum.ms = sum.bytes = sum.flops = 0;
    return rows;
  }

  /** The spans since the last call. */
  takeTimeline(): ProfileTimeline {
    const { marks, dropped } = this;
    this.marks = [];
    this.dropped = 0;
    const spans = marks.map(({ sum: { name, kind }, cost, beganMs, ms }) => ({
      name,
      kind,
      beganMs,
      ms,
      ...cost,
    }));
    return { spans, dropped };
  }

  private sumOf(kind: ProfileRow["kind"], name: string): Sum {
    const key = `${kind} ${name}`;
    let sum = this.sums.get(key);
    if (!sum) this.sums.set(key, (sum = { name, kind, runs: 0, ms: 0, bytes: 0, flops: 0 }));
    return sum;
  }

  private add(sum: Sum, cost: Cost, beganMs: number, ms: number): void {
    sum.runs++;
    sum.ms += ms;
    sum.bytes += cost.bytes;
    sum.flops += cost.flops;
    if (this.marks.length < MOST_SPANS) this.marks.push({ sum, cost, beganMs, ms });
    else this.dropped++;
  }
}

const NOTHING: Cost = { bytes: 0, flops: 0 };
