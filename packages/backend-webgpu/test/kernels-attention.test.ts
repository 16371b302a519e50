import { attention, gradients, key, normal, parameter, setDefaultBackend, tensor } from "@lowrank/tensor";
import { difference, reference, type Result, runOn } from "@lowrank/tensor/testing";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import type { WebGpuBackend } from "../src/index.js";
import { start } from "./kernels-harness.js";
import { noGpu } from "../../backend-dawn/test/gpu.js";

interface Case {
  name: string;
  T: number;
  S: number;
  H: number;
  Hk: number;
  d: number;
  dv?: number;
  causal?: boolean;
  offset?: number;
  mask?: boolean;
  backward?: boolean;
}

const cases: Case[] = [
  { name: "grouped, causal", T: 70, S: 70, H: 4, Hk: 2, d: 32, causal: true, backward: true },
  { name: "80 and 96 wide, masked", T: 36, S: 40, H: 2, Hk: 1, d: 80, dv: 96, mask: true, backward: true },
  { name: "ragged, masked", T: 13, S: 21, H: 2, Hk: 1, d: 8, dv: 12, mask: true, backward: true },
  { name: "256 wide", T: 34, S: 34, H: 1, Hk: 1, d: 256 },
  { name: "few queries", T: 3, S: 300, H: 2, Hk: 1, d: 96, causal: true, offset: 290 },
];

const B = 2;
/** About a third of the keys, and none for the first query. */
const maskOf = ({ T, S }: Case) =>
  tensor(
    Array.from({ length: T * S }, (_, i) => i >= S && (i * 7) % 11 < 4),
    { shape: [1, 1, T, S], dtype: "bool" },
  );

/** Both ways to place threads; only narrow heads have two. */
const tiles = [
  ["threads that share rows", true, cases],
  ["a square of threads", false, cases.filter(({ d, dv = d }) => Math.max(d, dv) <= 64)],
] as const;

describe.skipIf(noGpu).each(tiles)("attention by %s", { timeout: 300_000 }, (_, software, some) => {
  let backend: WebGpuBackend;
  beforeAll(async () => void (backend = await start({ software })));
  afterAll(() => backend.dispose());

  test.each(some)("$name", async (one) => {
    const { T, S, H, Hk, d, dv = d, causal = false, offset = 0, mask, backward } = one;
    const shapes = [
      [B, T, H, d],
      [B, S, Hk, d],
      [B, S, Hk, dv],
      [B, T, H, dv],
    ];
    setDefaultBackend(backend);
    const drawn = shapes.map((shape, i) => normal(shape, { key: key(i + 1) }));
    const data = await Promise.all(drawn.map((t) => t.data()));
    const build = () => {
      const [q, k, v, dy] = data.map((numbers, i) => parameter(tensor(numbers, { shape: shapes[i]! })));
      const y = attention(q!, k!, v!, { causal, offset, ...(mask && { mask: maskOf(one) }) });
      return backward ? [y, ...gradients(y, [q!, k!, v!], dy!)] : [y];
    };
    const wanted = await runOn(reference(), build);
    const got = await runOn(backend, build);
    wanted.forEach((w: Result, i) => {
      expect(difference(got[i]!, w, { rtol: 2e-5, atol: 2e-5 })).toBe(null);
    });
  });
});
