import { expect, test } from "vitest";
import { measureErrors } from "../src/linalg-errors.js";
import { linalgErrorsMarkdown } from "../src/linalg-errors-results.js";
import { drawLinalg } from "../src/linalg-plot.js";
import type { Sample } from "../src/result.js";
import { residual, twofoldSingularValues } from "../src/twofold.js";

test("singular values have about twice the digits of float64", () => {
  // Those of [[1, 1], [0, 1]] are the golden ratio and its inverse: (√5 ± 1) / 2 = 1.6180339887498948482045868343656…
  const [first, second] = twofoldSingularValues([1, 1, 0, 1], 2);
  expect(first!.hi).toBe(1.618033988749895);
  expect(first!.lo).toBeCloseTo(-5.432115203682506e-17, 30);
  expect(second!.hi + second!.lo).toBe(0.6180339887498949);
  // A = [[1, x], [x, 1]] has 1 ± x, here so near to each other that float64 loses one in the other.
  const near = twofoldSingularValues([1, 2 ** -60, 2 ** -60, 1], 2);
  for (const [j, { hi, lo }] of near.entries()) expect(hi - 1 + lo).toBeCloseTo((1 - 2 * j) * 2 ** -60, 30);
});

test("a residual is that of the exact product", () => {
  const x = 1 + 2 ** -30;
  expect(residual([x], [x], () => 1 + 2 ** -29, [1, 1, 1])).toBe(2 ** -60);
});

test("errors of decompositions are a few units of eps, and the bound of the randomised one holds", async () => {
  const lines = await measureErrors({ n: 24 });
  for (const line of lines) {
    const about = `${line.what} ${line.family} ${line.dtype}`;
    if (line.backward !== undefined) expect(line.backward, about).toBeLessThan(20 * 24);
    if (line.values !== undefined) expect(line.values, about).toBeLessThan(10);
    if (line.what !== "newtonSchulz") expect(line.orthogonality ?? 0, about).toBeLessThan(20 * 24);
    if (line.excess !== undefined) expect(line.excess, about).toBeLessThanOrEqual(line.bound! * 1.001);
  }
  const text = linalgErrorsMarkdown(lines);
  for (const row of ["svd: values", "cholesky: product", "randomizedSvd, rank 16: bound"])
    expect(text).toContain(`| ${row} |`);
});

test("times are drawn by library, the peer with least work among the others", () => {
  const sample = (lib: string, size: number, cpu_ms: number): Sample => ({
    bench: "linalg",
    row: `svd-${size}-f64`,
    lib,
    threads: 1,
    median_ms: 1,
    best_ms: 1,
    q1_ms: 1,
    q3_ms: 1,
    samples: 3,
    cpu_ms,
  });
  const three = [128, 256].flatMap((size) => [
    sample("lowrank-wasm", size, size / 50),
    sample("ml-matrix", size, size / 2),
    sample("jax-js", size, size),
  ]);
  const svg = drawLinalg(three);
  expect(svg).toMatch(/^<svg [^>]*xmlns="http:\/\/www\.w3\.org\/2000\/svg"/);
  expect(svg.match(/<circle/g)).toHaveLength(4);
  expect(drawLinalg(three.filter(({ lib }) => lib !== "jax-js"))).toBe(svg);
});
