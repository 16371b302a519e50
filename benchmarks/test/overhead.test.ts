import { expect, test } from "vitest";
import { measureOverhead, type StepTimes, summarizeSteps } from "../src/overhead.js";
import { overheadTable } from "../src/table.js";

const step = (step_ms: number, kernels_ms: number): StepTimes => ({
  step_ms,
  kernels_ms,
  build_ms: 1,
  trace_ms: 1,
  find_ms: 0,
  schedule_ms: 0,
  encode_ms: 0,
  bind_ms: 0,
  keep_ms: 0,
  groups: 7,
});

test("the host's share is the median over the steps after the first", () => {
  const found = summarizeSteps("mlp", 1, {
    times: [step(500, 100), step(100, 90), step(100, 96), step(200, 190)],
    plan: { arena_bytes: 1200, alive_bytes: 1000, with_workspace_bytes: 1300 },
    owned_bytes: 10,
    held_arena_bytes: 1300,
    peak_bytes: 1310,
  });
  expect(found).toMatchObject({
    steps: 3,
    host_ms: 10,
    host_share: 0.05,
    first_host_ms: 400,
    plan_ratio: 1.2,
  });
  expect(overheadTable(found)).toMatch(/host 5\.00 % of a step \(median of 3, 1 thread\)/);
});

test("a real loop is measured whole: its parts lie within the step", async () => {
  const { step: middle, first, plan, peak_bytes } = await measureOverhead("mlp", { steps: 6, threads: 1 });
  const { step_ms, kernels_ms, groups, ...host } = middle;
  expect(groups).toBeGreaterThan(10);
  expect(kernels_ms).toBeGreaterThan(0);
  for (const part of ["build_ms", "trace_ms", "bind_ms", "keep_ms"] as const)
    expect(host[part]).toBeGreaterThan(0);
  expect(kernels_ms).toBeLessThan(step_ms);
  expect(first.schedule_ms).toBeGreaterThan(0);
  expect(host.schedule_ms).toBe(0);
  expect(plan.with_workspace_bytes).toBeGreaterThanOrEqual(plan.arena_bytes);
  expect(peak_bytes).toBeGreaterThan(plan.alive_bytes);
});
