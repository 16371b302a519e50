import type { GpuContext } from "./context.js";
import type { Slab } from "./memory.js";
import { Pace } from "./pace.js";
import { gridOf } from "./parts.js";
import { ShaderFault } from "./pipelines.js";
import { type Dispatch, MAX_SCALARS, PARAM_WORDS, paddedBytes, placeName } from "./shader.js";
import type { Timer } from "./tuner.js";

const SLOT = PARAM_WORDS * 4;
const SCALARS = MAX_SCALARS * 4;
/** Clocks of pages count tenths of a millisecond. */
const TELLING_MS = 5;
const MOST_REPEATS = 256;
/** Turns of each way, an odd number. */
const TURNS = 3;
/** A way that was so many times slower when all warmed up takes no turn. */
const HOPELESS = 3;
/** Of a product that would take longer than a submit may, as many workgroups run as it has time for, but no fewer. */
const FEWEST_GROUPS = 128;

interface Command {
  readonly pipeline: GPUComputePipeline;
  readonly group: GPUBindGroup;
  readonly uniforms: GPUBindGroup;
  readonly offset: readonly number[];
  readonly grid: readonly [number, number];
}

interface Way {
  readonly commands: readonly Command[];
  /** All workgroups over those that run. */
  readonly scale: number;
}

const median = (times: readonly number[]): number => [...times].sort((a, b) => a - b)[times.length >> 1]!;

/** Times ways on the device, on memory of their own, in turns; the median of each. */
export const deviceTimer =
  (gpu: GpuContext): Timer =>
  async (ways, flops) => {
    const bench = new Bench(gpu);
    try {
      const part = Math.min(1, gpu.pace.submitMs / gpu.pace.ms(Pace.units({ bytes: 0, flops })));
      return await inTurns(await bench.prepare(ways, part), (way, times) => bench.ms(way, times));
    } catch (error) {
      gpu.faults.expectAlive();
      console.warn(
        `webgpu, tune: expected to measure a product, got ${(error as Error).message}; it is not tuned`,
      );
      return ways.map(() => null);
    } finally {
      bench.dispose();
    }
  };

/** Warms all up, then lets those with hope take turns. */
export async function inTurns<T>(
  ways: readonly (T | null)[],
  measure: (way: T, times: number) => Promise<number>,
): Promise<(number | null)[]> {
  const first: (number | null)[] = [];
  for (const way of ways) {
    if (way) await measure(way, 1); // some drivers compile now
    first.push(way && (await measure(way, 1)));
  }
  const limit = HOPELESS * Math.min(...first.map((ms) => ms ?? Number.POSITIVE_INFINITY));
  const times = ways.map((): number[] => []);
  for (let turn = 0; turn < TURNS; turn++) {
    for (const [i, way] of ways.entries()) {
      if (!way || first[i]! > limit) continue;
      const repeats = Math.min(MOST_REPEATS, Math.max(1, Math.ceil(TELLING_MS / first[i]!)));
      times[i]!.push((await measure(way, repeats)) / repeats);
    }
  }
  return times.map((list) => (list.length > 0 ? median(list) : null));
}

/** Memory, pipelines and a clock for the ways of one product. */
class Bench {
  private readonly slabs: Slab[] = [];
  private readonly clock: GPUQuerySet | null = null;
  private refusal: GPUError | null = null;

  constructor(private readonly gpu: GpuContext) {
    if (gpu.device.features.has("timestamp-query"))
      this.clock = gpu.device.createQuerySet({ type: "timestamp", count: 2 });
  }

  /** @throws DeviceError where the device has no memory for it */
  async prepare(ways: readonly (readonly Dispatch[])[], part: number): Promise<(Way | null)[]> {
    const sizes = new Map<string, number>();
    for (const { of } of ways.flat().flatMap(({ bindings }) => bindings))
      sizes.set(placeName(of), Math.max(sizes.get(placeName(of)) ?? 0, paddedBytes(of)));
    const memory = new Map<string, GPUBuffer>();
    for (const [name, bytes] of sizes) memory.set(name, await this.take(bytes, "storage"));
    return Promise.all(ways.map((way) => this.wayOf(way, part, memory)));
  }

  /** Milliseconds of a way that runs so many times. */
  async ms(way: Way, times: number): Promise<number> {
    const { device, faults } = this.gpu;
    const { clock } = this;
    const read = clock && (await this.take(16, "staging"));
    const resolved = clock && device.createBuffer({ size: 16, usage: 0x200 | 0x04 }); // QUERY_RESOLVE | COPY_SRC
    const began = performance.now();
    this.watched(() => {
      const encoder = device.createCommandEncoder();
      const pass = encoder.beginComputePass(
        clock
          ? { timestampWrites: { querySet: clock, beginningOfPassWriteIndex: 0, endOfPassWriteIndex: 1 } }
          : {},
      );
      for (let i = 0; i < times; i++) {
        for (const { pipeline, group, uniforms, offset, grid } of way.commands) {
          pass.setPipeline(pipeline);
          pass.setBindGroup(0, group);
          pass.setBindGroup(1, uniforms, offset);
          pass.dispatchWorkgroups(...grid);
        }
      }
      pass.end();
      if (clock) {
        encoder.resolveQuerySet(clock, 0, 2, resolved!, 0);
        encoder.copyBufferToBuffer(resolved!, 0, read!, 0, 16);
      }
      device.queue.submit([encoder.finish()]);
    });
    await faults.orFailed(device.queue.onSubmittedWorkDone());
    let ms = performance.now() - began;
    if (read) {
      await faults.orFailed(read.mapAsync(1, 0, 16)); // READ
      const [from, to] = new BigUint64Array(read.getMappedRange(0, 16));
      const told = Number(to! - from!) / 1e6;
      if (told > 0) ms = told;
      read.unmap();
    }
    resolved?.destroy();
    await faults.settled();
    if (this.refusal) throw new Error(this.refusal.message);
    return ms * way.scale;
  }

  dispose(): void {
    this.clock?.destroy();
    for (const slab of this.slabs) this.gpu.pool.destroy(slab);
  }

  private async take(bytes: number, purpose: "storage" | "uniform" | "staging"): Promise<GPUBuffer> {
    const slab = await this.gpu.pool.acquire(bytes, purpose);
    this.slabs.push(slab);
    return slab.buffer;
  }

  private watched<T>(calls: () => T): T {
    return this.gpu.faults.watch(calls, (error) => {
      this.refusal ??= error;
    });
  }

  /** What runs a way; null where it does not compile. */
  private async wayOf(
    way: readonly Dispatch[],
    part: number,
    memory: ReadonlyMap<string, GPUBuffer>,
  ): Promise<Way | null> {
    const { device, pipelines, faults } = this.gpu;
    const buffer = await this.take(SCALARS + way.length * SLOT, "uniform");
    const commands: Command[] = [];
    let scale = 1;
    for (const [i, dispatch] of way.entries()) {
      const { layout, ready } = pipelines.of(dispatch);
      let pipeline: GPUComputePipeline;
      try {
        pipeline = await faults.orFailed(ready);
      } catch (error) {
        if (error instanceof ShaderFault) return null;
        throw error;
      }
      const { workgroups, bindings } = dispatch;
      const count = Math.max(Math.min(FEWEST_GROUPS, workgroups), Math.ceil(workgroups * part));
      const params = Uint32Array.from(dispatch.params);
      params[0] = count;
      if (i === 0) scale = workgroups / count;
      const command = this.watched((): Command => {
        device.queue.writeBuffer(buffer, SCALARS + i * SLOT, params);
        const uniforms = device.createBindGroup({
          layout: pipelines.uniforms,
          entries: [
            { binding: 0, resource: { buffer, offset: SCALARS, size: SLOT } },
            { binding: 1, resource: { buffer, size: SCALARS } },
          ],
        });
        const group = device.createBindGroup({
          layout,
          entries: bindings.map(({ of }, binding) => ({
            binding,
            resource: { buffer: memory.get(placeName(of))!, size: paddedBytes(of) },
          })),
        });
        const grid = gridOf(count, device.limits.maxComputeWorkgroupsPerDimension);
        return { pipeline, group, uniforms, offset: [i * SLOT], grid };
      });
      commands.push(command);
    }
    return { commands, scale };
  }
}
