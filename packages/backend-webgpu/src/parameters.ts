import { bug, isFloat, type ScalarSource, scalarProgram } from "@lowrank/tensor/backend";
import type { GpuContext } from "./context.js";
import type { Slab } from "./memory.js";
import type { Part } from "./parts.js";
import { MAX_SCALARS, PARAM_WORDS } from "./shader.js";

const SLOT = PARAM_WORDS * 4;

/** The uniform buffer of a plan: its scalars, which change from run to run, then a slot for each dispatch. */
export class Parameters {
  private slab: Slab | null = null;
  private group: GPUBindGroup | null = null;
  private readonly words = new Uint32Array(MAX_SCALARS);
  private readonly floats = new Float32Array(this.words.buffer);
  private readonly values: Float64Array;
  private readonly compute: ReturnType<typeof scalarProgram>;
  private written = false;
  /** Offsets of the slots, one array each: bind groups take no numbers. */
  private offsets: readonly (readonly number[])[] = [];

  constructor(
    private readonly gpu: GpuContext,
    private readonly scalars: readonly ScalarSource[],
  ) {
    if (scalars.length > MAX_SCALARS) bug(`a plan has more than ${MAX_SCALARS} scalars`);
    this.values = new Float64Array(scalars.length);
    this.compute = scalarProgram(scalars);
  }

  get ready(): boolean {
    return this.group !== null;
  }

  get bindGroup(): GPUBindGroup {
    return this.group!;
  }

  offsetOf(part: number): readonly number[] {
    return this.offsets[part]!;
  }

  /** The parts of the plan have changed: `make` is due. */
  outdated(): void {
    this.group = null;
  }

  async make(parts: readonly Part[]): Promise<void> {
    const { device, pool, pipelines } = this.gpu;
    this.dispose();
    const slots = new Uint32Array(parts.length * PARAM_WORDS);
    parts.forEach(({ step, first, end }, i) => {
      slots.set(step.dispatch.params, i * PARAM_WORDS);
      slots[i * PARAM_WORDS] = end;
      slots[i * PARAM_WORDS + 1] = first;
    });
    this.slab = await pool.acquire(this.words.byteLength + slots.byteLength, "uniform");
    const { buffer } = this.slab;
    device.queue.writeBuffer(buffer, this.words.byteLength, slots);
    this.offsets = parts.map((_, i) => [i * SLOT]);
    this.written = false;
    this.group = device.createBindGroup({
      label: "parameters",
      layout: pipelines.uniforms,
      entries: [
        { binding: 0, resource: { buffer, offset: this.words.byteLength, size: SLOT } },
        { binding: 1, resource: { buffer, size: this.words.byteLength } },
      ],
    });
  }

  /** Computes the scalars from their slots, and copies them in if one has changed. */
  write(slots: Float64Array): void {
    const { values, words, floats } = this;
    if (values.length === 0) return;
    this.compute(slots, values);
    let changed = !this.written;
    this.scalars.forEach(({ dtype }, i) => {
      const before = words[i]!;
      if (isFloat(dtype)) floats[i] = values[i]!;
      else words[i] = values[i]! >>> 0;
      changed ||= words[i] !== before;
    });
    if (!changed) return;
    this.written = true;
    const count = Math.ceil(values.length / 4) * 4;
    this.gpu.device.queue.writeBuffer(this.slab!.buffer, 0, words, 0, count);
  }

  dispose(): void {
    if (this.slab) this.gpu.pool.destroy(this.slab);
    this.slab = null;
    this.group = null;
  }
}
