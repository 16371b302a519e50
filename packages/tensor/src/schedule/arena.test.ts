import fc from "fast-check";
import { expect, test } from "vitest";
import { type Interval, planArena } from "./arena.js";

const interval = fc
  .tuple(fc.integer({ min: 0, max: 5000 }), fc.nat(30), fc.nat(10))
  .map(([bytes, first, span]): Interval => ({ bytes, first, last: first + span, offset: -1 }));

test("no two values that are alive at once overlap", () => {
  fc.assert(
    fc.property(fc.array(interval, { maxLength: 40 }), (list) => {
      const { arenaBytes, liveBytes } = planArena(list);
      expect(arenaBytes).toBeGreaterThanOrEqual(liveBytes);
      for (const [i, a] of list.entries()) {
        expect(a.offset % 64).toBe(0);
        expect(a.offset + a.bytes).toBeLessThanOrEqual(arenaBytes);
        for (const b of list.slice(i + 1)) {
          const together = a.first <= b.last && b.first <= a.last;
          const apart = a.offset + a.bytes <= b.offset || b.offset + b.bytes <= a.offset;
          expect(!together || apart).toBe(true);
        }
      }
    }),
    { seed: 3, numRuns: 500 },
  );
});

test("values that follow one another share their place", () => {
  const list = [0, 1, 2, 3].map((first): Interval => ({ bytes: 100, first, last: first + 1, offset: -1 }));
  expect(planArena(list)).toEqual({ arenaBytes: 256, liveBytes: 256 });
});
