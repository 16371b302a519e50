import { readFileSync } from "node:fs";
import { fileURLToPath } from "node:url";
import { expect, test } from "vitest";
import type { MixCost, ServingLine, SwapCost, SwitchCost } from "../src/serving.js";
import { servingMarkdown } from "../src/serving-results.js";

const lines = readFileSync(fileURLToPath(new URL("../results/serving.jsonl", import.meta.url)), "utf8")
  .trim()
  .split("\n")
  .map((line) => JSON.parse(line) as ServingLine);
const of = <L extends ServingLine>(row: L["row"]): L[] => lines.filter((l): l is L => l.row === row);

test("the kept run: 8 adapters in one batch cost at most 1.15 × one, and each row is its adapter's alone to 1e-5", () => {
  const mixes = of<MixCost>("mix");
  expect(mixes.map(({ tokens }) => tokens)).toEqual([1, 16, 64]);
  for (const { ratio, ratio_cpu, difference } of mixes) {
    expect(ratio).toBeLessThanOrEqual(1.15);
    expect(ratio_cpu).toBeLessThanOrEqual(1.15);
    expect(difference).toBeLessThanOrEqual(1e-5);
  }
});

test("the kept run: a switch takes at most 5 ms and no plan, and 1,000 swaps no memory", () => {
  const [change] = of<SwitchCost>("switch");
  expect(change!.switch_ms + change!.host_ms).toBeLessThanOrEqual(5);
  expect(change!.plans_made).toBe(0);
  const [swap] = of<SwapCost>("swap");
  expect(swap!.swaps).toBe(1000);
  expect(swap!.owned_late_bytes).toBe(swap!.owned_early_bytes);
});

test("results tell of each part", () => {
  const text = servingMarkdown(lines);
  for (const part of ["8 mixed / one", "Switch: ", "Swap: ", "Texts, "]) expect(text).toContain(part);
});
