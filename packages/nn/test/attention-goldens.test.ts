import { fileURLToPath } from "node:url";
import { arange, inverseFrequencies, setDefaultBackend, type Tensor } from "@lowrank/tensor";
import { beforeAll, describe, expect, test } from "vitest";
import { type AttentionLayer, MFA, MFAKR, MLA } from "@lowrank/nn";
import { expectNear, readGoldens } from "../../models/test/golden-files.js";
import { testBackend } from "./backend.js";

beforeAll(async () => setDefaultBackend(await testBackend()));

const mla = { width: 16, heads: 4, latentDim: 6, ropeDim: 4, headDim: 5, valueDim: 7 };
const LAYERS: Readonly<Record<string, () => AttentionLayer>> = {
  mfa: () => new MFA({ width: 16, heads: 4, headDim: 6 }),
  "mfa-step": () => new MFA({ width: 16, heads: 3, headDim: 6, queryDim: 10, queryNorm: 1e-5 }),
  "mfa-kr": () => new MFAKR({ width: 16, heads: 4, headDim: 6 }),
  mla: () => new MLA(mla),
  "mla-latent": () => new MLA({ ...mla, queryDim: 8 }),
};

describe.each(Object.entries(LAYERS))("%s, against its equations in numpy", (name, make) => {
  test("results agree with positions and without", async () => {
    const path = fileURLToPath(new URL(`./goldens/attention-${name}.safetensors`, import.meta.url));
    const golden = await readGoldens(path);
    const layer = make();
    const own = golden.names.filter((n) => !["x", "y", "y_plain"].includes(n));
    layer.loadState(new Map<string, Tensor>(own.map((n) => [n, golden.tensor(n)])));
    const x = golden.tensor("x");
    const positions = arange(3, 10, 1, { dtype: "i32" }).reshape([1, 7]);
    const turned = layer.forward(x, { positions, inverseFrequencies: inverseFrequencies(layer.ropeDim) });
    await expectNear(turned, golden.numbers("y"), 1e-5, "turned, causal");
    await expectNear(layer.forward(x, { causal: false }), golden.numbers("y_plain"), 1e-5, "plain");
    expect(golden.numbers("y")).not.toEqual(golden.numbers("y_plain"));
  });
});
