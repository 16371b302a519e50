import { kindsOf } from "@lowrank/adapters";
import { contractChecks } from "@lowrank/adapters/testing";
import { defaultBackend, setDefaultBackend } from "@lowrank/tensor";
import { reference } from "@lowrank/tensor/reference";
import { wasm } from "@lowrank/backend-wasm";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { allAdapters, kindsFor, SIZE } from "./all-adapters.js";

describe.each(["reference", "wasm"])("on %s", (backend) => {
  beforeAll(async () => setDefaultBackend(backend === "reference" ? reference() : await wasm()));
  afterAll(async () => setDefaultBackend(await defaultBackend()));
  describe.each(allAdapters)("$name", (one) => {
    for (const check of contractChecks(one.adapter, one.config, { ...SIZE, kinds: kindsFor(one) }))
      test(check.name, check.run);
  });
});

test("every adapter is on every kind of layer that it can sit on", () => {
  for (const adapter of new Set(allAdapters.map((one) => one.adapter))) {
    const covered = new Set(allAdapters.filter((one) => one.adapter === adapter).flatMap(kindsFor));
    expect([adapter.name, [...covered].sort()]).toEqual([adapter.name, [...kindsOf(adapter)].sort()]);
  }
});
