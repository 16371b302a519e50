import { expect, test } from "vitest";
import { curvesMarkdown } from "../src/cost-results.js";
import { fitLine, fitTerms, measureCurve } from "../src/curves.js";
import { drawCurves } from "../src/curves-plot.js";
import { curveTable } from "../src/table.js";

const doubled = (first: number, count: number, ms: (size: number) => number) =>
  Array.from({ length: count }, (_, i) => ({ size: first * 2 ** i, best_ms: ms(first * 2 ** i) }));

test("a power of the size is a straight line with that slope", () => {
  const fit = fitLine(doubled(1, 10, (size) => 0.5 * size ** 1.5))!;
  expect(fit.slope).toBeCloseTo(1.5, 6);
  expect(fit.at_one_ms).toBeCloseTo(0.5, 3);
  expect(fit.deviation).toBeLessThan(1e-6);
  expect([fit.from, fit.to]).toEqual([32, 512]);
});

test("small steps are left out, a bend is seen, and two points are no line", () => {
  const constant = fitLine(doubled(1, 12, (size) => 2 + 0.01 * size));
  expect(constant!.from).toBe(512); // the first of more than 5 ms
  const bent = fitLine(doubled(8, 8, (size) => size + size ** 2 / 100))!;
  expect(bent.slope).toBeGreaterThan(1.5);
  expect(bent.deviation).toBeGreaterThan(0.04);
  const terms = fitTerms(doubled(8, 8, (size) => size + size ** 2 / 100))!;
  expect(terms.linear_ms).toBeCloseTo(1, 6);
  expect(terms.square_ms).toBeCloseTo(0.01, 6);
  expect(terms.deviation).toBeLessThan(1e-6);
  expect(fitLine(doubled(1, 3, (size) => 10 * size))).toBeNull();
});

test("a series doubles its size until it takes too long, and is drawn and told", async () => {
  const { points, summary } = await measureCurve("mlp-depth", { threads: 1, limitMs: 16 });
  expect(points.map((p) => p.size)).toEqual(points.map((_, i) => 2 ** i));
  expect(points.length).toBeGreaterThanOrEqual(2);
  for (const p of points) expect(p.median_ms).toBeGreaterThanOrEqual(p.best_ms);
  expect(points.at(-1)!.peak_bytes).toBeGreaterThan(points[0]!.peak_bytes);
  expect(summary).toMatchObject({ ended: "time", model: "MLP", about: "batch 64, width 256" });
  expect(Object.keys(summary.parts)).toContain("matmul");
  const svg = drawCurves(points, [summary]);
  expect(svg).toMatch(/^<svg [^>]*xmlns="http:\/\/www\.w3\.org\/2000\/svg"/);
  expect(svg.match(/<circle/g)).toHaveLength(points.length);
  const lines = [...points, summary];
  expect(curvesMarkdown(lines, "c.svg")).toContain("| mlp-depth | batch 64, width 256 | 1 to ");
  expect(curveTable(lines)).toContain("mlp-depth");
}, 60_000);

test("a series ends where its memory does", async () => {
  const { points, summary } = await measureCurve("mlp-width", { threads: 1, limitBytes: 2 ** 23 });
  expect(summary.ended).toBe("memory");
  expect(Math.max(...points.map((p) => p.peak_bytes))).toBeLessThanOrEqual(2 ** 23);
  expect(points.at(-1)!.size).toBeLessThan(1024);
}, 60_000);
