import { readFileSync } from "node:fs";
import { expect, test, vi } from "vitest";
import * as lowrank from "../src/index.js";
import { reference } from "../src/reference/backend.js";

const readme = readFileSync(new URL("../README.md", import.meta.url), "utf8");

test("the example of the README learns what it says", async () => {
  lowrank.setDefaultBackend(reference());
  const code = /```ts\n([\s\S]*?)```/.exec(readme)![1]!;
  const body = code.replace(/import (\{[^}]*\}) from "@lowrank\/tensor";/, "const $1 = lowrank;");
  const log = vi.spyOn(console, "log").mockImplementation(() => {});
  const AsyncFunction = Object.getPrototypeOf(async () => {}).constructor as new (
    ...args: string[]
  ) => (l: unknown) => Promise<void>;
  await new AsyncFunction("lowrank", body)(lowrank);
  const losses = log.mock.calls.map((c) => c[1] as number);
  log.mockRestore();
  expect(losses).toHaveLength(4);
  expect(losses[3]).toBeLessThan(0.02);
});

test("every function that the README lists is exported", () => {
  const table = readme.slice(readme.indexOf("## What is inside"), readme.indexOf("Every function of real"));
  const names = [...table.matchAll(/^\| [^|]+ \|(.*)\|$/gm)].flatMap((row) =>
    [...row[1]!.replace(/\([^)]*\)/g, "").matchAll(/`(\w+)`/g)].map((m) => m[1]!),
  );
  expect(names.length).toBeGreaterThan(120);
  expect(names.filter((n) => !(n in lowrank))).toEqual([]);
});
