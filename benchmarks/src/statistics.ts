import type { Sample, Summary } from "./result.js";

/** The p-quantile of numbers, p from 0 to 1, linear between the two nearest. */
export function quantile(values: readonly number[], p: number): number {
  if (values.length === 0) return Number.NaN;
  const sorted = [...values].sort((a, b) => a - b);
  const at = p * (sorted.length - 1);
  const [below, above] = [sorted[Math.floor(at)]!, sorted[Math.ceil(at)]!];
  return below + (above - below) * (at - Math.floor(at));
}

export const median = (values: readonly number[]): number => quantile(values, 0.5);
export const significant = (x: number, digits = 4): number => Number(x.toPrecision(digits));

/** The library under test: on the processor, and in `bench webgpu`. */
export const OURS = "lowrank-wasm";
export const OURS_GPU = "lowrank-webgpu";
export const JS_PEERS: readonly string[] = ["jax-js", "tfjs-wasm", "onnxruntime-web", "ml-matrix", "svd-js"];
export const GPU_PEERS: readonly string[] = ["jax-js-webgpu", "tfjs-webgpu"];
const NATIVE: readonly string[] = ["numpy", "torch"];

/** Ratios of speed of one row, by medians: ours over the fastest JavaScript peer, the fastest native library, and each. */
export function summarize(bench: string, row: string, threads: number, samples: readonly Sample[]): Summary {
  const [own, peers] = bench === "webgpu" ? [OURS_GPU, GPU_PEERS] : [OURS, JS_PEERS];
  const timed = samples.filter((s) => s.median_ms !== null);
  const ours = timed.find((s) => s.lib === own);
  const fastest = (libs: readonly string[]): Sample | undefined =>
    timed.filter((s) => libs.includes(s.lib)).sort((a, b) => a.median_ms! - b.median_ms!)[0];
  const [js, native] = [fastest(peers), fastest(NATIVE)];
  const over = (other: Sample): number => significant(other.median_ms! / ours!.median_ms!);
  const ratio = (other: Sample | undefined): number | null => (ours && other ? over(other) : null);
  const cpu = timed.flatMap((s) => (peers.includes(s.lib) && s.cpu_ms !== undefined ? [s.cpu_ms] : []));
  return {
    bench,
    row,
    threads,
    summary: true,
    best_js: js?.lib ?? null,
    ratio_best_js: ratio(js),
    ...(ours?.cpu_ms && cpu.length > 0 ? { ratio_cpu: significant(Math.min(...cpu) / ours.cpu_ms) } : {}),
    native: native?.lib ?? null,
    ratio_native: ratio(native),
    ratios: ours ? Object.fromEntries(timed.filter((s) => s !== ours).map((s) => [s.lib, over(s)])) : {},
  };
}
