import { readdirSync } from "node:fs";
import { describe, expect, test } from "vitest";
import { checkGradient, drawCase, opCases } from "@lowrank/tensor/testing";
import type { OpDef } from "@lowrank/tensor";

const folder = new URL("../src/ops/", import.meta.url);

/** Every row that a file of the op table exports. */
async function allRows(): Promise<OpDef[]> {
  const rows = new Set<OpDef>();
  for (const file of readdirSync(folder)) {
    if (!file.endsWith(".ts") || file.endsWith(".test.ts")) continue;
    const exported = (await import(new URL(file, folder).href)) as Record<string, unknown>;
    for (const [name, value] of Object.entries(exported)) if (name.endsWith("Op")) rows.add(value as OpDef);
  }
  return [...rows];
}

test("every op of the table has cases, under one name", async () => {
  const rows = await allRows();
  const covered = new Set(opCases().map((e) => e.op));
  expect(rows.length).toBeGreaterThan(90);
  expect(rows.filter((row) => !covered.has(row)).map((row) => row.name)).toEqual([]);
  expect(new Set(rows.map((row) => row.name)).size).toBe(rows.length);
});

describe("gradients agree with central differences", () => {
  for (const entry of opCases()) {
    if (!entry.differentiable) continue;
    test(entry.op.name, async () => {
      for (let seed = 1; seed <= 8; seed++)
        await checkGradient(drawCase(entry, "f64", seed, true), { most: 4 });
    });
  }
});

describe("gradients of gradients agree with central differences", () => {
  for (const entry of opCases()) {
    if (!entry.differentiable) continue;
    test(entry.op.name, async () => {
      for (let seed = 11; seed <= 14; seed++) {
        await checkGradient(drawCase(entry, "f64", seed, true), { order: 2, most: 3 });
      }
    });
  }
});
