import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { Heap } from "./heap.js";

const PAGE = 65536;
const makeHeap = (limitPages = 256): Heap =>
  new Heap(new WebAssembly.Memory({ initial: 1, maximum: 1024 }), 5000, limitPages * PAGE);

describe("the heap", () => {
  test("hands out aligned blocks that never overlap, whatever is freed in between", () => {
    const steps = fc.array(fc.oneof(fc.integer({ min: 0, max: 40_000 }), fc.integer({ min: -50, max: -1 })), {
      maxLength: 200,
    });
    fc.assert(
      fc.property(steps, (list) => {
        const heap = makeHeap();
        const live: { at: number; end: number }[] = [];
        for (const step of list) {
          if (step >= 0) {
            const at = heap.allocate(step, "test");
            const end = at + heap.sizeOf(at);
            expect(at % 64).toBe(0);
            expect(at).toBeGreaterThanOrEqual(5000);
            expect(end - at).toBeGreaterThanOrEqual(step);
            expect(end).toBeLessThanOrEqual(heap.memoryBytes);
            for (const other of live) expect(end <= other.at || at >= other.end).toBe(true);
            live.push({ at, end });
          } else if (live.length > 0) {
            heap.free(live.splice(-step % live.length, 1)[0]!.at);
          }
          expect(heap.usedBytes).toBe(live.reduce((sum, { at, end }) => sum + end - at, 0));
        }
        for (const { at } of live) heap.free(at);
        expect(heap.usedBytes).toBe(0);
        // all neighbours have merged: the first block comes from the start again
        expect(heap.allocate(1, "test")).toBe(5056);
      }),
      { seed: 7, numRuns: 100 },
    );
  });

  test("stays where it is when the same sizes come and go", () => {
    const heap = makeHeap();
    let bytes = 0;
    for (let round = 0; round < 1000; round++) {
      const blocks = [3000, 70_000, 64, 12_345].map((size) => heap.allocate(size, "test"));
      for (const at of round % 2 ? blocks : blocks.reverse()) heap.free(at);
      if (round === 2) bytes = heap.memoryBytes;
    }
    expect(heap.memoryBytes).toBe(bytes);
  });

  test("views follow the memory as it grows", () => {
    const heap = makeHeap();
    const at = heap.allocate(100 * PAGE, "test");
    heap.u8[at + 100 * PAGE - 1] = 7;
    expect(new Uint8Array(heap.memory.buffer)[at + 100 * PAGE - 1]).toBe(7);
    expect(heap.f64.byteLength).toBe(heap.memoryBytes);
  });

  test("a full memory is an error with the sizes, and what was there goes on working", () => {
    const heap = makeHeap(32);
    const at = heap.allocate(20 * PAGE, "test");
    expect(() => heap.allocate(20 * PAGE, "evaluate")).toThrowError(
      /evaluate on wasm: expected at most 786432 free bytes \(the limit is 2097152\), got a need for 1310720 bytes/,
    );
    heap.free(at);
    expect(heap.allocate(20 * PAGE, "test")).toBe(at);
  });

  test("a second free of a block is a bug that names itself", () => {
    const heap = makeHeap();
    const at = heap.allocate(10, "test");
    heap.free(at);
    expect(() => heap.free(at)).toThrowError(/lowrank bug/);
  });
});
