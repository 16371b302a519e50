import { type Group, Profile, type ProfileRow, type ProfileTimeline } from "@lowrank/tensor/backend";
import type { Faults } from "./faults.js";

/** Passes between two resolutions, of which each writes two timestamps: the most that a query set holds. */
const MOST = 2048;
/** Copies of timestamps that wait to be read; what comes while they do is run and not measured. */
const MOST_PENDING = 16;

interface Copy {
  readonly resolved: GPUBuffer;
  readonly staging: GPUBuffer;
}

interface Pass {
  readonly group: Group;
  /** The first dispatch of a run of the group. */
  readonly first: boolean;
}

/** Measures every dispatch by timestamps around a pass of its own. */
export class Profiler {
  private readonly profile = new Profile();
  private readonly set: GPUQuerySet;
  private passes: Pass[] = [];
  /** The run of a group whose dispatches are being added up. */
  private open: { group: Group; beganMs: number; ms: number } | null = null;
  private last: Promise<void> = Promise.resolve();
  private readonly idle: Copy[] = [];
  private readonly pending = new Set<Promise<void>>();
  private copies = 0;
  /** Dispatches that ran without being measured. */
  dropped = 0;

  constructor(
    private readonly device: GPUDevice,
    private readonly faults: Faults,
    private readonly most = MOST,
  ) {
    this.set = device.createQuerySet({ type: "timestamp", count: 2 * most });
  }

  /** A pass for one dispatch of a group; `first` if a run of the group begins with it. */
  begin(encoder: GPUCommandEncoder, group: Group, first: boolean): GPUComputePassEncoder {
    if (this.passes.length >= this.most) this.finish(encoder);
    if (this.idle.length === 0 && this.copies >= MOST_PENDING) {
      this.dropped++;
      return encoder.beginComputePass();
    }
    const at = 2 * this.passes.push({ group, first }) - 2;
    return encoder.beginComputePass({
      timestampWrites: { querySet: this.set, beginningOfPassWriteIndex: at, endOfPassWriteIndex: at + 1 },
    });
  }

  /** Resolves the timestamps since the last call; they are read once the commands have been submitted. */
  finish(encoder: GPUCommandEncoder): void {
    const { passes } = this;
    this.passes = [];
    if (passes.length === 0) return;
    const copy = this.idle.pop() ?? this.makeCopy();
    const size = 16 * passes.length;
    encoder.resolveQuerySet(this.set, 0, 2 * passes.length, copy.resolved, 0);
    encoder.copyBufferToBuffer(copy.resolved, 0, copy.staging, 0, size);
    const began = performance.now();
    const mapped = Promise.resolve().then(() => this.faults.orFailed(copy.staging.mapAsync(1, 0, size))); // READ
    const reading: Promise<void> = Promise.all([this.last, mapped])
      .then(() => {
        this.add(passes, new BigUint64Array(copy.staging.getMappedRange(0, size)), began);
        copy.staging.unmap();
        this.idle.push(copy);
      })
      .catch(() => {}) // a dead device, which tells by itself
      .finally(() => this.pending.delete(reading));
    this.pending.add(reading);
    this.last = reading;
  }

  /** Adds up the times of passes. The clocks of GPU and host differ: the first is taken to begin when it is submitted. */
  private add(passes: readonly Pass[], times: BigUint64Array, submitted: number): void {
    const ms = (at: number): number => Number(times[at]! - times[0]!) / 1e6;
    passes.forEach(({ group, first }, i) => {
      if (first || !this.open) {
        this.close();
        this.open = { group, beganMs: submitted + ms(2 * i), ms: 0 };
      }
      this.open.ms += Math.max(0, ms(2 * i + 1) - ms(2 * i));
    });
  }

  private close(): void {
    if (this.open) this.profile.group(this.open.group, this.open.beganMs, this.open.ms);
    this.open = null;
  }

  host(name: string, beganMs: number): void {
    this.profile.host(name, beganMs);
  }

  /** Rows since the last call, the most expensive first, once all work so far is done. */
  async take(): Promise<ProfileRow[]> {
    await Promise.all(this.pending);
    this.close();
    return this.profile.take();
  }

  async timeline(): Promise<ProfileTimeline> {
    await Promise.all(this.pending);
    this.close();
    const { spans, dropped } = this.profile.takeTimeline();
    return { spans, dropped: dropped + this.dropped };
  }

  dispose(): void {
    this.set.destroy();
    for (const { resolved, staging } of this.idle) {
      resolved.destroy();
      staging.destroy();
    }
  }

  private makeCopy(): Copy {
    this.copies++;
    const size = 16 * this.most;
    return {
      resolved: this.device.createBuffer({ size, usage: 0x200 | 0x04 }), // QUERY_RESOLVE | COPY_SRC
      staging: this.device.createBuffer({ size, usage: 0x01 | 0x08 }), // MAP_READ | COPY_DST
    };
  }
}
