import { expect, test } from "vitest";
import { judge, type Point } from "../src/memory.js";
import { memoryTable } from "../src/table.js";

const point = (step: number, live: number): Point => ({
  bench: "memory",
  row: "mlp",
  step,
  loss: 1,
  live_bytes: live,
  owned_bytes: live,
  arena_bytes: 0,
  heap_bytes: 1,
  external_bytes: 1,
  array_buffer_bytes: 1,
  rss_bytes: 100,
});

test("memory is judged by its most after the tenth step against the tenth", () => {
  const flat = judge("mlp", 1, [point(1, 500), point(10, 1000), point(50, 1010), point(100, 1000)]);
  expect(flat).toMatchObject({
    growth: 0.01,
    flat: true,
    most_live_bytes: 1010,
    live_bytes_at_10: 1000,
    steps: 100,
  });
  const grown = judge("mlp", 1, [point(10, 1000), point(50, 1020), point(100, 1000)]);
  expect(grown).toMatchObject({ growth: 0.02, flat: false });
  expect(memoryTable([point(10, 1000), point(50, 1020)], grown)).toMatch(
    /growth after step 10: 2.00 %, which is not flat/,
  );
  expect(() => judge("mlp", 1, [point(1, 1), point(10, 1)])).toThrow(/ended before/);
});
