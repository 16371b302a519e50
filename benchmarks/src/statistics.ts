/** The middle of sorted numbers; the mean of the two middle ones of an even count. */
export function median(values: readonly number[]): number {
  const sorted = [...values].sort((a, b) => a - b);
  const at = sorted.length >> 1;
  return sorted.length % 2 ? sorted[at]! : (sorted[at - 1]! + sorted[at]!) / 2;
}

export interface Sample {
  bench: string;
  row: string;
  lib: string;
  threads: number;
  median_ms?: number;
  best_ms?: number;
  samples?: number;
  details?: string;
  /** Why there are no times. */
  absent?: string;
}

export interface Summary {
  bench: string;
  row: string;
  threads: number;
  summary: true;
  /** The fastest other JavaScript library, and how many times as fast ours is. */
  best_js: string | null;
  ratio_best_js: number | null;
  /** The fastest native library, likewise. */
  native: string | null;
  ratio_native: number | null;
}

const NATIVE = new Set(["numpy", "torch"]);
const round = (x: number): number => Number(x.toPrecision(4));

/** Ratios of speed of one row, by medians: ours over the best JavaScript peer and over the best native library. */
export function summarize(bench: string, row: string, threads: number, samples: readonly Sample[]): Summary {
  const ours = samples.find((s) => s.lib.startsWith("lowrank"))?.median_ms;
  const best = (native: boolean): Sample | undefined =>
    samples
      .filter(
        (s) => s.median_ms !== undefined && !s.lib.startsWith("lowrank") && NATIVE.has(s.lib) === native,
      )
      .sort((a, b) => a.median_ms! - b.median_ms!)[0];
  const [js, native] = [best(false), best(true)];
  const ratio = (other: Sample | undefined) =>
    other && ours !== undefined ? round(other.median_ms! / ours) : null;
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
