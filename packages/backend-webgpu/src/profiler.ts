import type { Dispatch } from "./shader.js";

/** Time that the dispatches of one kernel took on the GPU. */
export interface KernelTime {
  readonly name: string;
  readonly runs: number;
  readonly ms: number;
}

/** Measures every dispatch by timestamps around a pass of its own. */
export class Profiler {
  private readonly rows = new Map<string, { name: string; runs: number; ms: number }>();
  private names: string[] = [];
  private readonly set: GPUQuerySet;
  private readonly pending: Promise<void>[] = [];

  constructor(
    private readonly device: GPUDevice,
    private readonly most = 2048,
  ) {
    this.set = device.createQuerySet({ type: "timestamp", count: 2 * most });
  }

  begin(encoder: GPUCommandEncoder, { name }: Dispatch): GPUComputePassEncoder {
    if (this.names.length >= this.most) return encoder.beginComputePass();
    const at = this.names.push(name) - 1;
    return encoder.beginComputePass({
      timestampWrites: {
        querySet: this.set,
        beginningOfPassWriteIndex: 2 * at,
        endOfPassWriteIndex: 2 * at + 1,
      },
    });
  }

  /** Resolves the timestamps of one plan. */
  finish(encoder: GPUCommandEncoder): void {
    const names = this.names;
    this.names = [];
    if (names.length === 0) return;
    const size = 16 * names.length;
    const resolved = this.device.createBuffer({ size, usage: 0x200 | 0x04 }); // QUERY_RESOLVE | COPY_SRC
    const staging = this.device.createBuffer({ size, usage: 0x01 | 0x08 });
    encoder.resolveQuerySet(this.set, 0, 2 * names.length, resolved, 0);
    encoder.copyBufferToBuffer(resolved, 0, staging, 0, size);
    this.pending.push(
      Promise.resolve()
        .then(() => staging.mapAsync(1))
        .then(() => {
          const times = new BigUint64Array(staging.getMappedRange());
          names.forEach((name, i) => this.add(name, Number(times[2 * i + 1]! - times[2 * i]!) / 1e6));
          staging.destroy();
          resolved.destroy();
        }),
    );
  }

  /** Rows since the last call, the most expensive first. */
  async take(): Promise<KernelTime[]> {
    await Promise.all(this.pending.splice(0));
    const rows = [...this.rows.values()].sort((a, b) => b.ms - a.ms);
    this.rows.clear();
    return rows;
  }

  dispose(): void {
    this.set.destroy();
  }

  private add(name: string, ms: number): void {
    let row = this.rows.get(name);
    if (!row) this.rows.set(name, (row = { name, runs: 0, ms: 0 }));
    row.runs++;
    row.ms += ms;
  }
}
