import type { Sample, Summary } from "./result.js";

/** The middle of sorted numbers; the mean of the two middle ones of an even count. */
export function median(values: readonly number[]): number {
  if (values.length === 0) return Number.NaN;
  const sorted = [...values].sort((a, b) => a - b);
  const at = sorted.length >> 1;
  return sorted.length % 2 ? sorted[at]! : (sorted[at - 1]! + sorted[at]!) / 2;
}

export const significant = (x: number, digits = 4): number => Number(x.toPrecision(digits));

const NATIVE: ReadonlySet<string> = new Set(["numpy", "torch"]);
const isOurs = (lib: string): boolean => lib.startsWith("lowrank");

/** Ratios of speed of one row, by medians: ours over the fastest JavaScript peer and over the fastest native library. */
export function summarize(bench: string, row: string, threads: number, samples: readonly Sample[]): Summary {
  const timed = samples.filter((s) => s.median_ms !== null);
  const fastest = (fits: (lib: string) => boolean): Sample | undefined =>
    timed.filter((s) => fits(s.lib)).sort((a, b) => a.median_ms! - b.median_ms!)[0];
  const ours = fastest(isOurs);
  const js = fastest((lib) => !isOurs(lib) && !NATIVE.has(lib));
  const native = fastest((lib) => NATIVE.has(lib));
  const ratio = (other: Sample | undefined): number | null =>
    ours && other ? significant(other.median_ms! / ours.median_ms!) : null;
  return {
    bench,
    row,
    threads,
    summary: true,
    best_js: js?.lib ?? null,
    ratio_best_js: ratio(js),
    native: native?.lib ?? null,
    ratio_native: ratio(native),
  };
}
