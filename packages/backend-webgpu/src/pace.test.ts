import { expect, test } from "vitest";
import { Pace } from "./pace.js";
import { gridOf, partsOf } from "./parts.js";
import type { Step } from "./plan.js";

test("two full submits may wait, or eight short ones", async () => {
  const pace = new Pace(50);
  const never = new Promise<void>(() => {});
  pace.left(40, 1, never);
  expect(pace.turn()).toBeNull();
  pace.left(40, 1, never);
  expect(pace.turn()).not.toBeNull();

  const short = new Pace(50);
  for (let i = 0; i < 7; i++) short.left(0.01, 1, never);
  expect(short.turn()).toBeNull();
  short.left(0.01, 1, never);
  expect(short.turn()).not.toBeNull();
});

test("the estimate follows what submits took, in limited steps; short ones tell nothing", () => {
  const pace = new Pace(50);
  const [work, dispatch] = [pace.ms(1, 0), pace.ms(0, 1)];
  pace.learn(0.1, 1, 1);
  expect([pace.ms(1, 0), pace.ms(0, 1)]).toEqual([work, dispatch]);
  pace.learn(1, 0, 100); // 100 times slower than thought
  expect([pace.ms(1, 0), pace.ms(0, 1)]).toEqual([4 * work, dispatch]);
  pace.learn(10_000, 0, 10); // 4000 times faster
  expect(pace.ms(1, 0)).toBe(work);
  pace.learn(0, 100, 100); // only dispatches are slower
  expect([pace.ms(1, 0), pace.ms(0, 1)]).toEqual([work, 4 * dispatch]);
});

test("the estimate comes to what a device needs, whatever mixture it is seen on", () => {
  const pace = new Pace(50);
  for (let i = 0; i < 100; i++) {
    for (const [units, dispatches] of [
      [1000, 10],
      [200, 100],
      [5000, 20],
    ] as const) {
      pace.learn(units, dispatches, 0.02 * units + 0.1 * dispatches);
    }
  }
  expect(pace.ms(1000, 0)).toBeCloseTo(20, 0);
  expect(pace.ms(0, 100)).toBeCloseTo(10, 0);
});

const step = (workgroups: number, units: number): Step =>
  ({ dispatch: { workgroups, name: "k", code: "", bindings: [], params: [] }, units }) as unknown as Step;

test("a dispatch that would take too long is cut into ranges of workgroups that cover it", () => {
  const parts = partsOf([step(1000, 10), step(7, 0.1)], 3, 65535);
  expect(parts.map(({ first, end, x, y }) => [first, end, x * y])).toEqual([
    [0, 250, 250],
    [250, 500, 250],
    [500, 750, 250],
    [750, 1000, 250],
    [0, 7, 7],
  ]);
  expect(parts.reduce((sum, part) => sum + part.units, 0)).toBeCloseTo(10.1);
  // not below a workgroup, and not without end
  expect(partsOf([step(3, 1e9)], 1, 65535)).toHaveLength(3);
  expect(partsOf([step(1e6, 1e9)], 1, 65535).length).toBeLessThanOrEqual(256);
});

test("workgroups beyond one dimension lie in two, with few to spare", () => {
  for (const count of [1, 65535, 65536, 65537, 1_000_003]) {
    const [x, y] = gridOf(count, 65535);
    expect(x).toBeLessThanOrEqual(65535);
    expect(x * y).toBeGreaterThanOrEqual(count);
    expect(x * y - count).toBeLessThan(y);
  }
});
