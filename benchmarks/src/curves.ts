import { spawn } from "node:child_process";
import { createInterface } from "node:readline";
import { fileURLToPath } from "node:url";
import { errorIn } from "./contender-process.js";
import { SERIES, type Series, type SeriesName } from "./curve-series.js";
import { machine } from "./result.js";
import { significant } from "./statistics.js";

/** A training step at one size. */
export interface CurvePoint {
  bench: "curves";
  row: string;
  threads: number;
  /** Rows, tokens, units or layers: what the series doubles. */
  size: number;
  /** The fastest of its steps: other programs only add to it. */
  best_ms: number;
  median_ms: number;
  steps: number;
  /** The first step, which makes first values and the plan. */
  first_ms: number;
  /** Tensors and temporaries. */
  peak_bytes: number;
}

/** What ended a series, and what its largest step was made of. */
export interface CurveEnd {
  row: string;
  ended: "time" | "memory";
  parts: Record<string, number>;
}

/** A line fitted to the logarithms of sizes and times. */
export interface Fit {
  /** The time grows with size^slope. */
  slope: number;
  /** Time at size 1 of the line, ms. */
  at_one_ms: number;
  /** Largest |time / line − 1| of a point fitted. */
  deviation: number;
  /** Sizes fitted. */
  from: number;
  to: number;
}

/** ms = linear · size + square · size², fitted to the same points; where a size enters both ways. */
export interface TwoTerms {
  linear_ms: number;
  square_ms: number;
  /** Largest |time / sum − 1|. */
  deviation: number;
}

export interface CurveSummary {
  bench: "curves";
  row: string;
  threads: number;
  summary: true;
  model: Series["model"];
  axis: Series["axis"];
  about: string;
  /** Null with fewer than three points to fit. */
  fit: Fit | null;
  /** For length (attention is the square) and width (weights are). */
  terms: TwoTerms | null;
  ended: CurveEnd["ended"];
  parts: CurveEnd["parts"];
  machine: string;
}

/** Below this a step is mostly the fixed cost of its groups. */
export const FIT_FROM_MS = 5;

type Timed = Pick<CurvePoint, "size" | "best_ms">;

/** The larger half of the points, of those that take more than 5 ms; null if fewer than three. */
function largerHalf(points: readonly Timed[]): Timed[] | null {
  const sorted = [...points].sort((a, b) => a.size - b.size);
  const half = sorted.slice(Math.floor(sorted.length / 2)).filter((p) => p.best_ms > FIT_FROM_MS);
  return half.length < 3 ? null : half;
}

const sum = (of: readonly number[]): number => of.reduce((a, b) => a + b, 0);

/** Least squares on logarithms, through the larger half. */
export function fitLine(points: readonly Timed[]): Fit | null {
  const half = largerHalf(points);
  if (!half) return null;
  const [xs, ys] = [half.map((p) => Math.log(p.size)), half.map((p) => Math.log(p.best_ms))];
  const [mx, my] = [sum(xs) / xs.length, sum(ys) / ys.length];
  // slope = Σ (x − x̄)(y − ȳ) / Σ (x − x̄)²
  const slope = sum(xs.map((x, i) => (x - mx) * (ys[i]! - my))) / sum(xs.map((x) => (x - mx) ** 2));
  const line = (x: number): number => my + slope * (x - mx);
  const deviation = Math.max(...xs.map((x, i) => Math.abs(Math.exp(ys[i]! - line(x)) - 1)));
  return {
    slope: significant(slope),
    at_one_ms: significant(Math.exp(line(0))),
    deviation: significant(deviation),
    from: half[0]!.size,
    to: half.at(-1)!.size,
  };
}

/** Least squares of relative errors, Σ (1 − (a·n + b·n²) / t)², through the larger half. */
export function fitTerms(points: readonly Timed[]): TwoTerms | null {
  const half = largerHalf(points);
  if (!half) return null;
  const [us, vs] = [half.map((p) => p.size / p.best_ms), half.map((p) => p.size ** 2 / p.best_ms)];
  const dot = (x: readonly number[], y: readonly number[]): number => sum(x.map((xi, i) => xi * y[i]!));
  // The normal equations of two unknowns.
  const [uu, uv, vv] = [dot(us, us), dot(us, vs), dot(vs, vs)];
  const det = uu * vv - uv ** 2;
  const a = (vv * sum(us) - uv * sum(vs)) / det;
  const b = (uu * sum(vs) - uv * sum(us)) / det;
  const deviation = Math.max(...us.map((u, i) => Math.abs(1 / (a * u + b * vs[i]!) - 1)));
  return { linear_ms: significant(a), square_ms: significant(b), deviation: significant(deviation) };
}

/** Most bytes of tensors in a series. */
const LIMIT_BYTES = 2 ** 31;
/** Longest step. */
const LIMIT_MS = 2000;

export interface CurveOptions {
  threads: number;
  onPoint?: (point: CurvePoint) => void;
  /** Default: 2 s. */
  limitMs?: number;
  /** Default: 2 GiB. */
  limitBytes?: number;
}

/** Doubles one size of a model in a process of its own, until the next step would take too long or too much memory. */
export async function measureCurve(
  row: SeriesName,
  { threads, onPoint, limitMs = LIMIT_MS, limitBytes = LIMIT_BYTES }: CurveOptions,
): Promise<{ points: CurvePoint[]; summary: CurveSummary }> {
  const script = fileURLToPath(new URL("./curves-process.ts", import.meta.url));
  const args = ["--import", "tsx", script, row, ...[threads, limitBytes, limitMs].map(String)];
  const cwd = fileURLToPath(new URL("../", import.meta.url));
  const child = spawn(process.execPath, args, { stdio: ["ignore", "pipe", "pipe"], cwd });
  let errors = "";
  child.stderr.on("data", (data: Buffer) => {
    errors = (errors + data.toString()).slice(-8000);
  });
  const exit = new Promise<number | null>((resolve) => child.once("exit", resolve));
  const points: CurvePoint[] = [];
  let end: CurveEnd | undefined;
  for await (const text of createInterface({ input: child.stdout })) {
    const line = JSON.parse(text) as CurvePoint | CurveEnd;
    if ("ended" in line) end = line;
    else {
      points.push(line);
      onPoint?.(line);
    }
  }
  if ((await exit) !== 0 || !end) throw new Error(`bench curves: ${row} failed: ${errorIn(errors)}`);
  const { model, axis, about } = SERIES[row];
  const { ended, parts } = end;
  const fit = fitLine(points);
  const terms = axis === "length" || axis === "width" ? fitTerms(points) : null;
  const summary: CurveSummary = {
    bench: "curves",
    row,
    threads,
    summary: true,
    model,
    axis,
    about,
    fit,
    terms,
    ended,
    parts,
    machine: machine(),
  };
  return { points, summary };
}
