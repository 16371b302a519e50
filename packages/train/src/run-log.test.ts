import { appendFileSync, mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, expect, test } from "vitest";
import type { TrainEvent } from "./events.js";
import { RunLog } from "./run-log.js";

let folder: string;
let path: string;
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), "log-"));
  path = join(folder, "log.jsonl");
});
afterEach(() => rmSync(folder, { recursive: true }));

const save = (step: number): TrainEvent => ({ type: "save", step, path: `step-${step}`, ms: 1 });
const lines = (): Record<string, unknown>[] =>
  readFileSync(path, "utf8")
    .split("\n")
    .filter(Boolean)
    .map((row) => JSON.parse(row) as Record<string, unknown>);

test("each event is a line with the time in front, there as soon as it is told", () => {
  const log = RunLog.open(path, false);
  log.add({ type: "settings", seed: 3 });
  log.add(save(2));
  expect(lines().map(({ type, step, seed }) => [type, step ?? seed])).toEqual([
    ["settings", 3],
    ["save", 2],
  ]);
  for (const row of lines()) {
    expect(Object.keys(row)[0]).toBe("time");
    expect(new Date(row["time"] as string).toISOString()).toBe(row["time"]);
  }
  expect(log.events.map((e) => e.type)).toEqual(["save"]);
});

test("a log that is kept goes on behind its last whole line", () => {
  RunLog.open(path, false).add(save(2));
  appendFileSync(path, '{"type":"save","step":4,"pa'); // cut off by a kill
  const log = RunLog.open(path, true);
  log.add(save(6));
  expect(lines().map((row) => row["step"])).toEqual([2, 6]);
  expect(log.events.length).toBe(2);
});

test("a log that is not kept begins anew", () => {
  RunLog.open(path, false).add(save(2));
  expect(RunLog.open(path, false).events).toEqual([]);
  expect(lines()).toEqual([]);
});

test("going back to a step takes out what came after it, and nothing else", () => {
  const log = RunLog.open(path, false);
  log.add({ type: "settings", step: "none" });
  for (const step of [2, 4, 6]) log.add(save(step));
  log.add({ type: "resume", step: 4, path: "step-4" });
  log.add(save(6));
  expect(lines().map(({ type, step }) => [type, step])).toEqual([
    ["settings", "none"],
    ["save", 2],
    ["save", 4],
    ["resume", 4],
    ["save", 6],
  ]);
});
