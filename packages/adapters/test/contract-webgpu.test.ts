import { contractChecks } from "@lowrank/adapters/testing";
import { findAdapter } from "@lowrank/backend-dawn";
import { wasm } from "@lowrank/backend-wasm";
import { defaultBackend, setDefaultBackend } from "@lowrank/tensor";
import { withCompanion } from "@lowrank/tensor/backend";
import { afterAll, beforeAll, describe, test } from "vitest";
import { gpu, noGpu } from "../../backend-dawn/test/gpu.js";
import { allAdapters, type Case, kindsFor, SIZE } from "./all-adapters.js";

/** On a GPU in software each method's programs take about ten seconds to compile: these stand for all there. */
const IN_SOFTWARE = ["lora", "dora", "hra"];

const software = noGpu === null && /llvmpipe|swiftshader/i.test((await findAdapter()).name);
/** LOWRANK_WHOLE_CONTRACT=1 runs every method on a GPU in software too. */
const whole = !software || process.env["LOWRANK_WHOLE_CONTRACT"] === "1";

/** Each adapter once, on those kinds of layers that its first configurations fit. */
const cases: readonly Case[] = allAdapters.filter(
  (one, i) =>
    allAdapters.findIndex((other) => other.adapter === one.adapter) === i &&
    (whole || IN_SOFTWARE.includes(one.adapter.name)),
);

// A program that has to be compiled in software first takes up to half a minute.
describe.skipIf(noGpu)("on WebGPU, with Wasm for decompositions", { timeout: 300_000 }, () => {
  beforeAll(async () => setDefaultBackend(withCompanion(await gpu(), await wasm())));
  afterAll(async () => setDefaultBackend(await defaultBackend()));
  describe.each(cases)("$name", (one) => {
    const kinds = whole ? kindsFor(one) : (["linear"] as const);
    const checks = contractChecks(one.adapter, one.config, { ...SIZE, kinds, gradientDtype: "f32" });
    for (const check of checks) test(check.name, check.run);
  });
});
