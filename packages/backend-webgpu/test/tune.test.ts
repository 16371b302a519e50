import { evaluate, matmul, setDefaultBackend, type Tensor } from "@lowrank/tensor";
import { afterEach, beforeEach, describe, expect, test, vi } from "vitest";
import { dawn, type DawnBackend } from "@lowrank/backend-dawn";
import type { Dispatch } from "../src/shader.js";
import type { Tuner } from "../src/tuner.js";
import type { TuneStore } from "../src/index.js";
import { drawn, expectClose, numbers, product } from "./kernels-harness.js";
import { noGpu } from "../../backend-dawn/test/gpu.js";

type Timer = (ways: readonly (readonly Dispatch[])[], flops: number) => Promise<(number | null)[]>;

class Memory implements TuneStore {
  readonly texts = new Map<string, string>();
  get = (key: string): string | undefined => this.texts.get(key);
  set = (key: string, text: string): void => void this.texts.set(key, text);
}

const tunerOf = (backend: DawnBackend): Tuner | null =>
  (Reflect.get(backend, "gpu") as { tuner: Tuner | null }).tuner;

/** A backend whose tuner is told these times, and how often it was asked. */
async function told(tune: boolean | TuneStore, times: (count: number) => (number | null)[]) {
  const backend = await dawn({ tune });
  const time = vi.fn<Timer>(async (ways) => times(ways.length));
  Object.assign(tunerOf(backend)!, { time });
  setDefaultBackend(backend);
  return { backend, time };
}

const [M, K, N] = [70, 36, 52];
const names = (store: Memory): string[] => Object.values(JSON.parse([...store.texts.values()][0]!));

describe.skipIf(noGpu)("tuning", { timeout: 300_000 }, () => {
  const open: DawnBackend[] = [];
  const keep = <T extends { backend: DawnBackend }>(one: T): T => {
    open.push(one.backend);
    return one;
  };
  let warn: ReturnType<typeof vi.spyOn>;
  beforeEach(() => void (warn = vi.spyOn(console, "warn").mockImplementation(() => {})));
  afterEach(async () => {
    warn.mockRestore();
    for (const one of open.splice(0)) await one.dispose();
  });

  /** A product of the shape, from numbers that depend on nothing but the seed. */
  const make = (rows = M): [Tensor, Tensor] => [drawn([rows, K], 1), drawn([K, N], 2)];
  const ours = async (rows = M): Promise<Float32Array> => numbers(matmul(...make(rows)));

  test("the fastest way is taken, once for a class of shapes, and gives the bits of every other", async () => {
    const bits = new Set<string>();
    let count = 1;
    for (let i = 0; i < count; i++) {
      const store = new Memory();
      const { backend, time } = keep(
        await told(store, (n) => Array.from({ length: (count = n) }, (_, j) => (j === i ? 1 : 2))),
      );
      const got = await ours();
      expect(time).toHaveBeenCalledTimes(1);
      expect(tunerOf(backend)!.version).toBe(i === 0 ? 0 : 1);
      await ours(M + 1); // of the same class
      await ours();
      expect(time).toHaveBeenCalledTimes(1);
      const [a, b] = make();
      expectClose(got, product(await numbers(a), await numbers(b), M, N, K), K);
      bits.add(`${new Uint8Array(got.buffer)}`);
      expect(names(store)).toHaveLength(1);
    }
    expect(count).toBeGreaterThan(3);
    expect(bits.size).toBe(1);
  });

  test("of equals the first is taken, and ways that do not run are left out", async () => {
    const { backend } = keep(await told(true, (n) => Array.from({ length: n }, () => 3)));
    await ours();
    expect(tunerOf(backend)!.version).toBe(0);
    const store = new Memory();
    keep(await told(store, (n) => Array.from({ length: n }, (_, i) => (i === 2 ? 9 : null))));
    await ours();
    expect(names(store)[0]).toMatch(/^(direct|shared) \d+x\d+ \d+x\d+$/);
    const none = keep(await told(true, (n) => Array.from({ length: n }, () => null)));
    await ours();
    expect(tunerOf(none.backend)!.version).toBe(0);
  });

  test("what a store keeps is not measured again", async () => {
    const store = new Memory();
    const last = (n: number) => Array.from({ length: n }, (_, i) => n - i);
    keep(await told(store, last));
    const first = await ours();
    const { time } = keep(await told(store, last));
    expect(await ours()).toEqual(first);
    expect(time).not.toHaveBeenCalled();
  });

  test("a store that holds or does nonsense is told and passed over", async () => {
    const store = new Memory();
    keep(await told(store, (n) => Array.from({ length: n }, (_, i) => i)));
    await ours();
    const [key] = store.texts.keys();
    for (const text of ["{", "[1]", "7"]) {
      warn.mockClear();
      store.texts.set(key!, text);
      const { time } = keep(await told(store, (n) => Array.from({ length: n }, (_, i) => i)));
      expect(warn).toHaveBeenCalledWith(expect.stringContaining("webgpu, tune"));
      await ours();
      expect(time).toHaveBeenCalledTimes(1);
    }
    store.texts.set(
      key!,
      JSON.stringify({ [Object.keys(JSON.parse(store.texts.get(key!)!))[0]!]: "no way" }),
    );
    const { time } = keep(await told(store, (n) => Array.from({ length: n }, (_, i) => i)));
    await ours();
    expect(time).toHaveBeenCalledTimes(1);
    const full: TuneStore = {
      get: () => null,
      set: () => {
        throw new Error("full");
      },
    };
    warn.mockClear();
    keep(await told(full, (n) => Array.from({ length: n }, (_, i) => i)));
    await ours();
    expect(warn).toHaveBeenCalledWith(expect.stringContaining("full"));
  });

  test("measured on the device, products are right, and nothing that was measured stays in memory", async () => {
    const backend = await dawn({ tune: new Memory() });
    open.push(backend);
    setDefaultBackend(backend);
    const [a, b] = make();
    await evaluate(a, b);
    const time = vi.spyOn(tunerOf(backend) as unknown as { time: Timer }, "time");
    const got = await numbers(matmul(a, b));
    expect(time).toHaveBeenCalledTimes(1);
    expectClose(got, product(await numbers(a), await numbers(b), M, N, K), K);
    await numbers(matmul(a, b));
    expect(time).toHaveBeenCalledTimes(1);
    expect(warn).not.toHaveBeenCalled();
    expect(backend.heldBytes).toBeLessThan(1 << 20);
  });

  test("without the option nothing is measured, and an option that is neither is refused", async () => {
    const backend = await dawn({ tune: false });
    open.push(backend);
    expect(tunerOf(backend)).toBe(null);
    await expect(dawn({ tune: "yes" as never })).rejects.toMatchObject({
      name: "ConfigError",
      message: expect.stringContaining("tune to be true, false, or a store"),
    });
  });
});
