import { availableParallelism } from "node:os";
import { evaluate, matmul, memory, parameter, setDefaultBackend, tensor } from "@lowrank/tensor";
import { afterAll, beforeAll, describe, expect, test, vi } from "vitest";
import { wasm, type WasmBackend } from "./index.js";

let backend: WasmBackend;
beforeAll(async () => {
  backend = await wasm({ threads: 2, maxMemoryBytes: 2 ** 28 });
  setDefaultBackend(backend);
});
afterAll(() => backend.dispose());

describe("the embedded backend", () => {
  test("computes a graph", async () => {
    const a = tensor([
      [1, 2],
      [3, 4],
    ]);
    const b = tensor([
      [5, 6],
      [7, 8],
    ]);
    expect(await matmul(a, b).add(1).toArray()).toEqual([
      [20, 23],
      [44, 51],
    ]);
  });

  test("a thousand small evaluations leave the memory as it is", async () => {
    const w = parameter(
      tensor(
        Float32Array.from({ length: 4096 }, (_, i) => Math.sin(i)),
        { shape: [64, 64] },
      ),
    );
    const step = async (i: number): Promise<number> => {
      const x = tensor(new Float32Array(64 * 8).fill(i / 1000), { shape: [8, 64] });
      const loss = matmul(x, w).square().mean();
      await evaluate(loss, w.assign(w.mul(0.999)));
      const value = await loss.item();
      loss.dispose();
      return value;
    };
    for (let i = 0; i < 10; i++) await step(i);
    const before = memory();
    backend.resetPeak();
    for (let i = 0; i < 1000; i++) expect(await step(i)).toBeGreaterThanOrEqual(0);
    expect(memory().ownedBytes).toBe(before.ownedBytes);
    expect(memory().arenaBytes).toBe(before.arenaBytes);
    expect(memory().peakBytes).toBeLessThanOrEqual(before.ownedBytes + before.arenaBytes + 64);
  });

  test("buffers are checked", async () => {
    const buffer = backend.allocate(16);
    backend.write(buffer, Float32Array.of(1, 2), 8);
    expect(new Float32Array(await backend.read(buffer, 16)).slice(2)).toEqual(Float32Array.of(1, 2));
    expect(() => backend.write(buffer, new Float32Array(4), 8)).toThrowError(
      /a range within a buffer of 16 bytes, got 16 bytes from 8/,
    );
    backend.free(buffer);
    expect(() => backend.free(buffer)).toThrowError(/a live buffer of this backend, got one that was freed/);
    await expect(backend.read(buffer, 4)).rejects.toThrowError(/one that was freed/);
  });

  test("what does not fit is refused with its size, and the backend goes on", async () => {
    expect(() => backend.allocate(2 ** 29)).toThrowError(
      /the limit is 268435456\), got a need for 536870912 bytes/,
    );
    backend.free(backend.allocate(1000));
  });

  test("options are checked", async () => {
    await expect(wasm({ threads: 0 })).rejects.toThrowError(/threads to be an integer from 1 to 64, got 0/);
    await expect(wasm({ maxMemoryBytes: 1000 })).rejects.toThrowError(
      /maxMemoryBytes to be an integer from 1048576/,
    );
  });

  test("LOWRANK_THREADS says how many threads there are by default, if it is a number", async () => {
    const found: number[] = [];
    for (const value of ["3", "1", "many", "0"]) {
      vi.stubEnv("LOWRANK_THREADS", value);
      const made = await wasm();
      found.push(made.threads);
      made.dispose();
    }
    vi.unstubAllEnvs();
    const cores = Math.min(8, availableParallelism());
    expect(found).toEqual([3, 1, cores, cores]);
  });

  test("runs in unshared memory on one thread", async () => {
    const one = await wasm({ threads: 1 });
    setDefaultBackend(one);
    expect(await tensor([1, 2, 3]).mul(2).sum().item()).toBe(12);
    setDefaultBackend(backend);
    one.dispose();
  });
});
