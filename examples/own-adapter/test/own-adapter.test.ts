import { readFile } from "node:fs/promises";
import { contractChecks } from "@lowrank/adapters/testing";
import { defaultBackend, setDefaultBackend } from "@lowrank/tensor";
import { beforeAll, describe, expect, test } from "vitest";
import { fileNames, learn } from "../src/main.js";
import { twoGains, type TwoGainsConfig } from "../src/two-gains.js";

beforeAll(async () => setDefaultBackend(await defaultBackend()));

const trained: Record<
  NonNullable<TwoGainsConfig["side"]>,
  (target: { inFeatures: number; outFeatures: number }) => number
> = {
  both: ({ inFeatures, outFeatures }) => inFeatures + outFeatures,
  in: ({ inFeatures }) => inFeatures,
  out: ({ outFeatures }) => outFeatures,
};

describe.each(Object.entries(trained))("gains on %s", (side, count) => {
  for (const check of contractChecks(twoGains, { side: side as "both" }, { count }))
    test(check.name, check.run);
});

test("it learns the gains that were put in, and merges", async () => {
  const { before, after, merged } = await learn();
  expect(after).toBeLessThan(1e-3 * before);
  expect(merged).toBeLessThan(1e-5);
  expect(await fileNames()).toEqual(["adapter_config.json", "adapter_model.safetensors"]);
});

test("the whole adapter is less than 60 lines", async () => {
  const text = await readFile(new URL("../src/two-gains.ts", import.meta.url), "utf8");
  expect(text.trimEnd().split("\n").length).toBeLessThan(60);
});
