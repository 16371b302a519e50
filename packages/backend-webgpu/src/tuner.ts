import { ConfigError, type KernelGroup, sizeOf } from "@lowrank/tensor/backend";
import type { EmitContext } from "./emit.js";
import type { Traits } from "./emit-traits.js";
import { emitProduct, type Variant } from "./kernels/matmul-block.js";
import { nameOf, waysOf } from "./kernels/matmul-ways.js";
import type { Product } from "./kernels/product.js";
import type { Dispatch, Scratch } from "./shader.js";

/** Texts by key that outlive the program. */
export interface TuneStore {
  get(key: string): string | null | undefined | Promise<string | null | undefined>;
  set(key: string, text: string): void | Promise<void>;
}

/** Milliseconds of each way, a list of dispatches; null where the device refuses it. */
export type Timer = (ways: readonly (readonly Dispatch[])[], flops: number) => Promise<(number | null)[]>;

interface Question {
  readonly group: KernelGroup;
  readonly product: Product;
  readonly ways: readonly Variant[];
  readonly traits: Traits;
}

/** Counts up when a name comes to mean another kernel: what was kept before is measured anew. */
const KERNELS = 1;
/** Sizes between two powers of two are one class. */
const classOf = (n: number): number => Math.ceil(Math.log2(Math.max(1, n)));

/** Measures ways to form products on the device itself, and remembers the fastest of each class of shapes. */
export class Tuner {
  /** Names of the fastest ways. */
  private readonly known = new Map<string, string>();
  private readonly questions = new Map<string, Question>();
  private readonly place: string;
  /** Changes when plans made before should be made anew. */
  version = 0;

  private constructor(
    private readonly time: Timer,
    private readonly store: TuneStore | null,
    adapter: string,
  ) {
    this.place = `lowrank.tune.${KERNELS}: ${adapter}`;
  }

  /** @throws ConfigError if `tune` is neither true nor a store */
  static async start(tune: unknown, adapter: string, time: Timer): Promise<Tuner> {
    const store = tune as TuneStore;
    if (tune !== true && (typeof store?.get !== "function" || typeof store.set !== "function")) {
      throw new ConfigError({
        where: "webgpu",
        expected: "tune to be true, false, or a store with get(key) and set(key, text)",
        got: String(tune),
      });
    }
    const tuner = new Tuner(time, tune === true ? null : store, adapter);
    await tuner.load();
    return tuner;
  }

  /** The fastest way for products like this. Where none is known, `fixed`, and it is measured at the next `settle`. */
  choose(group: KernelGroup, product: Product, fixed: Variant, { traits }: EmitContext): Variant {
    const ways = waysOf(product, fixed);
    const key = keyOf(group, product, fixed);
    const name = this.known.get(key);
    const way = ways.find((one) => nameOf(one) === name);
    if (way) return way;
    if (ways.length > 1) this.questions.set(key, { group, product, ways, traits });
    return fixed;
  }

  /**
   * Measures what was asked since the last call; of equals the first is taken.
   *
   * @returns `version`
   */
  async settle(): Promise<number> {
    const questions = [...this.questions];
    this.questions.clear();
    for (const [key, { group, product, ways, traits }] of questions) {
      const { M, N, K, batch } = product;
      const times = await this.time(
        ways.map((way) => dispatchesOf(group, product, way, traits)),
        2 * sizeOf(batch) * M * N * K,
      );
      let best = 0;
      times.forEach((ms, i) => {
        if (ms !== null && ms < (times[best] ?? Number.POSITIVE_INFINITY)) best = i;
      });
      this.known.set(key, nameOf(ways[best]!));
      if (best > 0) this.version++;
    }
    if (questions.length > 0) await this.save();
    return this.version;
  }

  private async load(): Promise<void> {
    try {
      const text = await this.store?.get(this.place);
      if (!text) return;
      const read: unknown = JSON.parse(text);
      if (typeof read !== "object" || read === null || Array.isArray(read)) throw new Error("no table");
      for (const [key, name] of Object.entries(read)) this.known.set(key, String(name));
    } catch (cause) {
      warn("a table of kernels that were measured before", cause, "they are measured again");
    }
  }

  private async save(): Promise<void> {
    try {
      await this.store?.set(this.place, JSON.stringify(Object.fromEntries(this.known)));
    } catch (cause) {
      warn("to keep what was measured", cause, "the next program measures again");
    }
  }
}

function warn(expected: string, cause: unknown, hint: string): void {
  console.warn(`webgpu, tune: expected ${expected}, got ${(cause as Error)?.message ?? cause}; ${hint}`);
}

/** Products with one key are taken to have one fastest way. */
function keyOf(group: KernelGroup, { name, M, N, K, batch, a, b }: Product, fixed: Variant): string {
  const dtypes = group.inputs.map((input) => ("value" in input ? input.dtype : "")).join(",");
  const sizes = [M, N, K, sizeOf(batch)].map(classOf).join(" ");
  const { lanes, split } = fixed;
  return `${name} ${sizes} ${a.along} ${b.along} ${dtypes} ${group.outputs[0]!.dtype} ${group.epilogue ? "+" : ""} ${nameOf(fixed)} ${lanes} ${split}`;
}

/** The dispatches of one way, with scratch where nothing else of it lies. */
function dispatchesOf(group: KernelGroup, product: Product, way: Variant, traits: Traits): Dispatch[] {
  const dispatches: Dispatch[] = [];
  let at = 2 ** 40; // beyond every arena: the memory of a measurement is its own
  emitProduct(group, product, way, {
    traits,
    tuner: null,
    dispatch: (dispatch) => dispatches.push(dispatch),
    scratch: (bytes): Scratch => ({ kind: "scratch", offset: (at += 2 ** 33), bytes }),
  });
  return dispatches;
}
