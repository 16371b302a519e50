import type { FolderInput } from "@lowrank/models";
import type { Module } from "@lowrank/nn";
import {
  type Assignment,
  ConfigError,
  type DType,
  dtypeBytes,
  evaluate,
  type Parameter,
  scalar,
  type Tensor,
  tensor,
  updateSlice,
} from "@lowrank/tensor";
import type { Adapter, Target } from "./adapter.js";
import { type Attached, attach, expectFreeName } from "./attach.js";
import { expectInteger } from "./expect.js";
import { lora, type LoraConfig, loraScale } from "./lora.js";
import { readPeft } from "./peft.js";
import { PoolSlots, stackedLora } from "./pool-layer.js";
import type { Entry } from "./stack.js";
import type { TargetSelection } from "./targets.js";

export interface AdapterPoolOptions extends Partial<TargetSelection> {
  /** Adapters that fit. Their memory is taken at once: see `bytesPerSlot`. */
  slots: number;
  /** The largest rank that fits. */
  rank: number;
  /** Storage type of the adapters. Default f32. */
  dtype?: DType;
  /** Name of the pool among the adapters of the model. Default "pool". */
  name?: string;
}

/**
 * Several LoRA adapters on one base, which is there once. They are loaded and unloaded by name while the model is used,
 * and `withRows` says which of them acts on which row of a batch: choosing others runs the same plan.
 *
 *     y_b = W x_b + Σ_s w_bs · B_s A_s x_b
 *
 * The matrices of all slots lie in one tensor per layer, of the largest rank, zeros behind an adapter's own; those of a row
 * are picked by an index. (One wide product of all adapters with what is not the row's masked out was 1.02 to 1.25 times
 * as slow on Wasm, for 8 adapters of rank 8 and 1 to 64 tokens a row.) The row-wise products are those of Punica: Chen et
 * al. 2023, arXiv:2310.18547, section 4.
 *
 * @example
 * ```ts
 * const pool = adapterPool(model, { slots: 8, rank: 16 });
 * await pool.load("formal", "adapters/formal");
 * const logits = withRows(model, ["formal", null], () => model.forward(ids)); // ids [2, T]
 * ```
 * @throws ConfigError if no layer matches the targets or a setting is out of range.
 * @category Contract
 */
export function adapterPool<M extends Module>(model: M, options: AdapterPoolOptions): AdapterPool<M> {
  return new AdapterPool(model, options);
}

/** See {@link adapterPool}. */
export class AdapterPool<M extends Module = Module> {
  readonly slots: number;
  readonly rank: number;
  private readonly table: PoolSlots;
  private readonly attached: Attached<M>;
  /** Adapters that are still being read. */
  private readonly loading = new Set<string>();
  /** Loads write into the same memory, so that they take turns. */
  private turn: Promise<void> = Promise.resolve();

  /** @internal */
  constructor(
    readonly model: M,
    { slots, rank, dtype = "f32", name = "pool", targets = "all-linear", ...selection }: AdapterPoolOptions,
  ) {
    expectInteger("adapterPool", "slots", slots, { min: 1, max: 4096 });
    expectInteger("adapterPool", "rank", rank, { min: 1, max: 4096 });
    this.slots = slots;
    this.rank = rank;
    this.table = new PoolSlots(slots);
    this.attached = attach(
      model,
      stackedLora(this.table, model),
      { slots, rank },
      { ...selection, targets, dtype, name },
    );
    this.attached.names = () => this.names;
  }

  /** Names of the adapters that can be used. */
  get names(): string[] {
    return this.table.list().filter((name) => !this.loading.has(name));
  }

  /** Bytes that one adapter takes. */
  get bytesPerSlot(): number {
    let bytes = 0;
    for (const { entry } of this.attached.places) {
      for (const p of Object.values(entry.params)) bytes += (p.size / this.slots) * dtypeBytes(p.dtype);
    }
    return bytes;
  }

  /**
   * Reads an adapter from a PEFT folder into a free slot. Evaluate passes that were built
   * before, and build others after: the adapters of a model lie in the same memory, and a pass sees one state of it.
   *
   * @throws ConfigError if the name is taken, all slots are, the rank is too large, the method is not LoRA, or the adapter
   * has layers that the pool does not sit on; as `loadPeft` otherwise. The pool is then as it was.
   */
  async load(name: string, input: FolderInput): Promise<void> {
    const where = `load ${JSON.stringify(name)}`;
    expectFreeName(this.model, where, name, [...this.loading]);
    const slot = this.table.take(name);
    if (slot < 0) {
      throw new ConfigError({
        where,
        expected: `one of the ${this.slots} slots to be free`,
        got: `${this.table.list().join(", ")} in them`,
        hint: "unload one, or make the pool with more slots",
      });
    }
    this.loading.add(name);
    const turn = this.turn.then(() => this.read(where, name, slot, input));
    this.turn = turn.catch(() => {});
    try {
      await turn;
    } catch (error) {
      this.table.free(slot);
      throw error;
    } finally {
      this.loading.delete(name);
    }
  }

  private async read(where: string, name: string, slot: number, input: FolderInput): Promise<void> {
    const { plan, values, full } = await readPeft(this.model, input, {
      name,
      adapters: [lora as unknown as Adapter],
    });
    if (full.size > 0) {
      throw new ConfigError({
        where,
        expected: "an adapter alone, as modules trained in full cannot differ by row",
        got: `${full.size} tensors of such modules: ${[...full.keys()].slice(0, 4).join(", ")}`,
        hint: "load it with loadPeft",
      });
    }
    const own = new Map(plan.layers.map(({ entry }) => [entry.target.path, entry]));
    this.check(where, own);
    const contents = await Promise.all(
      this.attached.places.map(({ entry: { target } }) => {
        const found = own.get(target.path);
        return this.content(target, found, found && values.get(found));
      }),
    );
    const at = scalar(slot, { dtype: "i32" });
    const write = (p: Parameter, value: Float32Array): Assignment =>
      p.assign(updateSlice(p, tensor(value, { shape: [1, ...p.shape.slice(1)] }), at, 0));
    await evaluate(
      ...this.attached.places.flatMap(({ entry: { params } }, i) => [
        write(params["A"]!, contents[i]!.A),
        write(params["B"]!, contents[i]!.B),
      ]),
    );
  }

  /**
   * Forgets an adapter; its slot is free for the next.
   *
   * @throws ConfigError for a name that is not loaded.
   */
  unload(name: string): void {
    if (!this.names.includes(name)) {
      throw new ConfigError({
        where: "unload",
        expected: `one of ${this.names.map((n) => JSON.stringify(n)).join(", ") || "no adapters"}`,
        got: JSON.stringify(name),
      });
    }
    this.table.free(this.table.indexOf(name));
  }

  /** Takes the pool with all its adapters off the model. */
  detach(): M {
    return this.attached.detach();
  }

  private check(where: string, own: ReadonlyMap<string, Entry>): void {
    const places = new Set(this.attached.layers);
    const outside = [...own.keys()].filter((path) => !places.has(path));
    if (outside.length > 0) {
      throw new ConfigError({
        where,
        expected: "an adapter of layers that the pool sits on",
        got: `${outside.slice(0, 4).join(", ")}${outside.length > 4 ? ` and ${outside.length - 4} more` : ""}`,
        hint: "name them in the targets of the pool; only linear layers can be",
      });
    }
    for (const [path, { config }] of own) {
      const { rank } = config as LoraConfig;
      if (rank <= this.rank) continue;
      throw new ConfigError({
        where,
        expected: `a rank of at most ${this.rank}, that of the pool`,
        got: `${rank} for ${path}`,
        hint: "make the pool with a larger rank",
      });
    }
  }

  /** What goes into the slot of a layer: an adapter's matrices, or zeros where it has none for the layer. */
  private async content(
    { inFeatures, outFeatures }: Target,
    own: Entry | undefined,
    values: Readonly<Record<string, Tensor>> | undefined,
  ): Promise<{ A: Float32Array; B: Float32Array }> {
    const A = new Float32Array(this.rank * inFeatures);
    const B = new Float32Array(this.rank * outFeatures);
    if (own !== undefined && values !== undefined) {
      const config = own.config as LoraConfig;
      const scale = loraScale(config);
      A.set((await values["A"]!.data()) as ArrayLike<number>); // [r, in], the first rows
      const up = (await values["B"]!.data()) as ArrayLike<number>; // [out, r]
      for (let o = 0; o < outFeatures; o++) {
        for (let r = 0; r < config.rank; r++) B[r * outFeatures + o] = up[o * config.rank + r]! * scale;
      }
    }
    return { A, B };
  }
}
