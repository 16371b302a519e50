import { mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, afterEach, beforeAll, describe, expect, test, vi } from "vitest";
import * as packageOfDawn from "@lowrank/backend-dawn";
import type * as packageOfNative from "@lowrank/backend-native";
import { DeviceError } from "@lowrank/tensor/backend";
import { noBlas } from "../../backend-native/test/blas.js";
import { noGpu } from "../../backend-dawn/test/gpu.js";
import { makeData, makeModel, type Ran, run } from "./harness.js";

const scratch = mkdtempSync(join(tmpdir(), "cli-device-"));
afterAll(() => rmSync(scratch, { recursive: true }));
const at = (...parts: string[]): string => join(scratch, ...parts);

/** What stands in for the package with Dawn, and the options of the other. */
const stand = vi.hoisted(() => ({ in: null as null | object, native: {} }));
vi.mock("@lowrank/backend-dawn", async (original) => {
  const real = await original<typeof packageOfDawn>();
  const now = (): typeof packageOfDawn => ({ ...real, ...stand.in });
  return { ...real, dawn: (o: object) => now().dawn(o), findAdapter: () => now().findAdapter() };
});
vi.mock("@lowrank/backend-native", async (original) => {
  const real = await original<typeof packageOfNative>();
  return { ...real, native: (o: object) => real.native({ ...o, ...stand.native }) };
});
afterEach(() => {
  stand.in = null;
  stand.native = {};
});

beforeAll(async () => {
  await makeModel(at("model"));
  makeData(at("data"));
});

const score = (...more: string[]): Promise<Ran> =>
  run(["evaluate", at("model"), at("data", "text.jsonl"), "--length", "32", "--threads", "1", ...more]);
const adapter = (name: string, software: boolean) => async () => ({ name, vendor: "", software });
const refuse = async (): Promise<never> => {
  throw new DeviceError({ where: "dawn", expected: "a GPU adapter", got: "none", hint: "install one" });
};

describe("--device auto", () => {
  test("takes wasm where there is no BLAS and the only GPU is software, where there is none and where one does not start", async () => {
    stand.native = { candidates: [] };
    stand.in = { findAdapter: adapter("llvmpipe", true) };
    expect((await score("--device", "auto")).stderr).toContain(
      "computing on wasm, one thread (no GPU: llvmpipe is software; native: no BLAS was found, so WebAssembly computes; ",
    );
    stand.in = { findAdapter: refuse };
    const { records, status } = await score("--device", "auto", "--json");
    expect(status).toBe(0);
    expect(records[0]).toEqual({
      type: "device",
      device: "wasm",
      on: "one thread",
      why: expect.stringMatching(
        /^no GPU: dawn: expected a GPU adapter, got none; install one; native: no BLAS was found, /,
      ),
    });
    stand.in = { findAdapter: adapter("A GPU", false), dawn: refuse };
    expect((await score("--device", "auto")).stderr).toContain(
      "computing on wasm, one thread (no GPU: dawn: ",
    );
  });

  test.skipIf(noBlas)("takes the BLAS of the machine where there is no GPU, and says its name", async () => {
    stand.in = { findAdapter: refuse };
    const { stderr, status } = await score("--device", "auto");
    expect(stderr).toMatch(/^computing on native, \w+ [\d.]+ on one thread \(no GPU: dawn: .*\)\n/);
    expect(status).toBe(0);
  });

  test.skipIf(noGpu)("takes a GPU where there is one, and says its name", async () => {
    stand.in = { findAdapter: adapter("A GPU", false) };
    const { stderr, status } = await score("--device", "auto");
    expect(stderr).toContain("computing on webgpu, A GPU\n");
    expect(status).toBe(0);
  });
});

test("--device native warns and computes on wasm where there is no BLAS, and fails where one was named", async () => {
  stand.native = { candidates: [] };
  const { stderr, status } = await score("--device", "native");
  expect(stderr).toMatch(/native: no BLAS was found, so WebAssembly computes; .*LOWRANK_BLAS\n/);
  expect(status).toBe(0);
  stand.native = { library: at("model", "config.json") };
  const named = await score("--device", "native");
  expect(named.stderr).toMatch(
    /^native: .*config\.json: expected an? \S+ library for \w+, got a file of \d+ bytes/,
  );
  expect(named.status).toBe(1);
});

test("--device webgpu fails with what to install where there is no adapter", async () => {
  stand.in = { dawn: refuse };
  const { stderr, status } = await score("--device", "webgpu");
  expect(stderr).toBe("dawn: expected a GPU adapter, got none; install one\n");
  expect(status).toBe(1);
});

// Software Vulkan compiles each kernel for seconds.
test.skipIf(noGpu)(
  "a fine-tune on WebGPU follows that on Wasm, and tells where the time went",
  { timeout: 300_000 },
  async () => {
    const tune = (device: string, ...more: string[]): Promise<Ran> =>
      run([
        ...[
          "finetune",
          at("model"),
          at("data", "text.jsonl"),
          "--out",
          at(device),
          "--device",
          device,
          "--json",
        ],
        ...[
          "--batch",
          "2",
          "--length",
          "32",
          "--steps",
          "4",
          "--rank",
          "2",
          "--lr",
          "0.02",
          "--threads",
          "1",
          ...more,
        ],
      ]);
    const gpu = await tune("webgpu", "--profile", "--trace", at("trace.json"));
    expect(gpu.status).toBe(0);
    const [warning] = gpu.records.filter((r) => r["type"] === "warning");
    const { software } = await packageOfDawn.findAdapter();
    expect(warning?.["message"] ?? "").toMatch(software ? /is software; --device wasm is faster/ : /^$/);
    const losses = (ran: Ran): number[] =>
      ran.records.filter((r) => r["type"] === "step").map((r) => r["loss"] as number);
    const [got, expected] = [losses(gpu), losses(await tune("wasm"))];
    expect(got).toHaveLength(4);
    for (const [i, loss] of got.entries()) expect(Math.abs(loss / expected[i]! - 1)).toBeLessThan(1e-4);
    const rows = gpu.records.find((r) => r["type"] === "profile")!["rows"] as {
      name: string;
      share: number;
    }[];
    expect(rows.some(({ name }) => name.startsWith("matmul of "))).toBe(true);
    expect(rows.reduce((sum, row) => sum + row.share, 0)).toBeCloseTo(1, 9);
    const { traceEvents } = JSON.parse(readFileSync(at("trace.json"), "utf8"));
    expect(traceEvents.filter((e: { cat?: string }) => e.cat === "group").length).toBeGreaterThan(50);
  },
);
