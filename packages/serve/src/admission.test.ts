import { expect, test } from "vitest";
import { Admission } from "./admission.js";

test("every wait for the end of what is under way ends with it", async () => {
  const admission = new Admission(1, 1);
  const leave = [admission.enter(() => {}), admission.enter(() => {})];
  expect(() => admission.enter(() => {})).toThrow(/1 requests are under way and 1 wait/);
  const ended: number[] = [];
  const waits = [0, 1].map((i) => admission.drain(60_000).then(() => ended.push(i)));
  leave[0]!();
  leave[0]!();
  await Promise.resolve();
  expect(ended).toEqual([]);
  leave[1]!();
  await Promise.all(waits);
  expect(ended).toEqual([0, 1]);
  await admission.drain(0);
});
