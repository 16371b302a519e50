import {
  attention,
  crossEntropy,
  evaluate,
  gradients,
  matmul,
  parameter,
  setDefaultBackend,
  take,
  type Tensor,
  tensor,
  updateSlice,
  zeros,
} from "@lowrank/tensor";
import { afterAll, beforeAll, beforeEach, expect, test } from "vitest";
import {
  chromeTrace,
  formatProfile,
  type ProfileRow,
  type ProfileSpan,
  wasm,
  type WasmBackend,
} from "./index.js";
import { Profile } from "@lowrank/tensor/backend";

let backend: WasmBackend;
beforeAll(async () => setDefaultBackend((backend = await wasm({ threads: 2, profile: true }))));
afterAll(() => backend.dispose());
beforeEach(() => {
  backend.profile();
  backend.timeline();
});

const f32 = (...shape: number[]): Tensor =>
  tensor(
    Float32Array.from({ length: shape.reduce((n, d) => n * d, 1) }, (_, i) => Math.sin(i)),
    { shape },
  );
const groups = (): ProfileRow[] => backend.profile().filter((row) => row.kind === "group");
const sum = (of: readonly number[]): number => of.reduce((a, b) => a + b, 0);

/** Gradients and update of a small network. */
async function step(): Promise<void> {
  const w = parameter(f32(32, 16));
  const loss = crossEntropy(matmul(f32(64, 32), w).exp(), tensor(new Int32Array(64)));
  const [g] = gradients(loss, [w]);
  await evaluate(loss, w.assign(w.sub(g!.mul(0.1))));
}

test("rows say what ran how often, host work included, and their shares sum to 1", async () => {
  for (let i = 0; i < 3; i++) await step();
  const rows = backend.profile();
  expect(sum(rows.map((row) => row.share))).toBeCloseTo(1, 12);
  expect(rows.map((row) => row.ms)).toEqual([...rows.map((row) => row.ms)].sort((a, b) => b - a));
  const runs = (name: string) => rows.find((row) => row.name === name)?.runs;
  expect(runs("matmul+exp of 64×32, 32×16")).toBe(3);
  for (const name of ["trace", "find plan", "keep results"]) expect(runs(name)).toBe(3);
  expect(runs("schedule")).toBe(1);
  expect(runs("encode")).toBe(1);
  expect(backend.profile()).toEqual([]);
});

test("a row's rates are its bytes and operations over its time", async () => {
  await evaluate(matmul(f32(64, 32), f32(32, 16)));
  const [row] = groups();
  expect(row).toMatchObject({ runs: 1, flops: 2 * 64 * 32 * 16, bytes: 4 * (64 * 32 + 32 * 16 + 64 * 16) });
  expect(row!.gflopsPerSecond).toBeCloseTo(row!.flops / row!.ms / 1e6, 9);
  expect(row!.gbPerSecond).toBeCloseTo(row!.bytes / row!.ms / 1e6, 9);
});

test.each<[string, () => Tensor, Partial<ProfileRow>]>([
  // exp(x + y): two instructions an element; y is read once, however often it is used
  ["loop", () => f32(8, 16).add(f32(16)).exp(), { bytes: 4 * (128 + 16 + 128), flops: 2 * 128 }],
  ["sum", () => f32(8, 16).square().sum(-1), { bytes: 4 * (128 + 8), flops: 2 * 128 }],
  ["transposed matmul", () => matmul(f32(8, 16).T, f32(8, 4)), { bytes: 4 * (128 + 32 + 64), flops: 1024 }],
  ["gather", () => take(f32(100, 4), tensor(new Int32Array(3))), { bytes: 2 * 4 * 12 + 12, flops: 0 }],
  [
    "causal attention", // 10 of 16 pairs are seen
    () => attention(f32(1, 4, 2, 8), f32(1, 4, 2, 8), f32(1, 4, 2, 8), { causal: true }),
    { flops: 2 * (2 * 10) * (8 + 8) },
  ],
])("%s: bytes and operations follow from the shapes", async (_, make, expected) => {
  await evaluate(make());
  const rows = groups();
  expect(rows).toHaveLength(1);
  expect(rows[0]).toMatchObject(expected);
});

test("a slice written in place counts alone", async () => {
  const cell = parameter(zeros([1, 1000, 4]));
  await evaluate(cell);
  backend.profile();
  await evaluate(cell.assign(updateSlice(cell, f32(1, 2, 4), 5, 1)));
  expect(groups()).toMatchObject([{ bytes: 2 * 4 * 8 }]);
});

test("a trace has a lane of kernels and one of host work, in time and without overlaps in a lane", async () => {
  await step();
  await step();
  const timeline = backend.timeline();
  expect(timeline.dropped).toBe(0);
  const { traceEvents } = JSON.parse(JSON.stringify(chromeTrace(timeline))) as {
    traceEvents: { ph: string; tid: number; name: string; ts: number; dur: number; args: { name: string } }[];
  };
  const lanes = traceEvents.filter((e) => e.ph === "M").map((e) => [e.tid, e.args.name]);
  expect(lanes).toEqual([
    [1, "kernels"],
    [2, "host"],
  ]);
  const spans = traceEvents.filter((e) => e.ph === "X");
  expect(spans).toHaveLength(timeline.spans.length);
  expect(Math.min(...spans.map((e) => e.ts))).toBe(0);
  for (const [lane] of lanes) {
    const inLane = spans.filter((e) => e.tid === lane).sort((a, b) => a.ts - b.ts);
    expect(inLane.length).toBeGreaterThan(3);
    for (const [i, e] of inLane.entries()) {
      expect(e.dur).toBeGreaterThanOrEqual(0);
      // a microsecond for the coarseness of the clock
      if (i > 0) expect(e.ts).toBeGreaterThanOrEqual(inLane[i - 1]!.ts + inLane[i - 1]!.dur - 1);
    }
  }
  expect(backend.timeline().spans).toEqual([]);
});

test("a timeline ends after 200,000 spans and says how many are missing", () => {
  const profile = new Profile();
  for (let i = 0; i < 200_003; i++) profile.host("bind", 0);
  expect(profile.take()[0]!.runs).toBe(200_003);
  const timeline = profile.takeTimeline();
  expect([timeline.spans.length, timeline.dropped]).toEqual([200_000, 3]);
  expect(chromeTrace(timeline).otherData).toEqual({ dropped: 3 });
});

test("a table is aligned, shows the dearest and sums up the others", () => {
  const row = (name: string, ms: number, kind: ProfileRow["kind"] = "group"): ProfileRow => {
    const rates =
      kind === "group" ? { gbPerSecond: 5.25, gflopsPerSecond: 50 } : { gbPerSecond: 0, gflopsPerSecond: 0 };
    return { name, kind, runs: 2, ms, share: ms / 100, bytes: 0, flops: 0, ...rates };
  };
  const rows = [row("matmul of 8×8, 8×8", 80), row("bind", 15, "host"), row("a", 3), row("b", 2)];
  expect(formatProfile(rows, 2)).toBe(
    [
      " share    ms  runs  ms/run  GB/s  GFLOP/s  group",
      "80.0 %  80.0     2  40.000   5.3     50.0  matmul of 8×8, 8×8",
      "15.0 %  15.0     2   7.500                 host: bind",
      " 5.0 %   5.0                               2 more",
    ].join("\n"),
  );
  expect(formatProfile([])).toBe("share  ms  runs  ms/run  GB/s  GFLOP/s  group");
});

test("without the option there is nothing", async () => {
  const plain = await wasm({ threads: 1 });
  setDefaultBackend(plain);
  await step();
  expect(plain.profile()).toEqual([]);
  expect(plain.timeline()).toEqual({ spans: [] satisfies ProfileSpan[], dropped: 0 });
  expect(plain.hostWork).toBeUndefined();
  setDefaultBackend(backend);
  plain.dispose();
});
