import type { ProfileRow, ProfileTimeline } from "./profile.js";

/**
 * The rows of a profile as an aligned table, the most expensive first.
 *
 * @param most rows to show; the others are one line at the end. Default: 30.
 */
export function formatProfile(rows: readonly ProfileRow[], most = 30): string {
  const shown = rows.slice(0, most);
  const rest = rows.slice(most);
  const number = (x: number, digits: number): string => (x > 0 ? x.toFixed(digits) : "");
  const cells = shown.map((row) => [
    percent(row.share),
    row.ms.toFixed(1),
    String(row.runs),
    (row.ms / row.runs).toFixed(3),
    number(row.gbPerSecond, 1),
    number(row.gflopsPerSecond, 1),
    row.kind === "host" ? `host: ${row.name}` : row.name,
  ]);
  if (rest.length > 0) {
    const [share, ms] = [rest.reduce((a, r) => a + r.share, 0), rest.reduce((a, r) => a + r.ms, 0)];
    cells.push([percent(share), ms.toFixed(1), "", "", "", "", `${rest.length} more`]);
  }
  const table = [["share", "ms", "runs", "ms/run", "GB/s", "GFLOP/s", "group"], ...cells];
  const widths = table[0]!.map((_, column) => Math.max(...table.map((line) => line[column]!.length)));
  const last = widths.length - 1;
  return table
    .map((line) => line.map((cell, i) => (i === last ? cell : cell.padStart(widths[i]!))).join("  "))
    .join("\n");
}

const percent = (share: number): string => `${(100 * share).toFixed(1)} %`;

/** An event of the Trace Event Format: a span ("X", in microseconds), or the name of a lane ("M"). */
export interface ChromeTraceEvent {
  readonly name: string;
  readonly ph: "X" | "M";
  readonly pid: number;
  readonly tid: number;
  readonly cat?: string;
  readonly ts?: number;
  readonly dur?: number;
  readonly args?: Readonly<Record<string, string | number>>;
}

export interface ChromeTrace {
  readonly traceEvents: readonly ChromeTraceEvent[];
  readonly displayTimeUnit: "ms";
  readonly otherData: Readonly<Record<string, string | number>>;
}

const LANES = { group: 1, host: 2 } as const;

/**
 * A timeline as chrome://tracing and Perfetto open it once it is written as JSON: one lane for the kernels, whichever
 * threads ran them, and one for the host's work. A gap in both is time outside of evaluations, such as that in which a
 * graph is built.
 */
export function chromeTrace({ spans, dropped }: ProfileTimeline): ChromeTrace {
  const began = spans.reduce((first, span) => Math.min(first, span.beganMs), Number.POSITIVE_INFINITY);
  const lane = (tid: number, name: string): ChromeTraceEvent => ({
    name: "thread_name",
    ph: "M",
    pid: 1,
    tid,
    args: { name },
  });
  const events = spans.map((span): ChromeTraceEvent => {
    const { name, kind, beganMs, ms, bytes, flops } = span;
    return {
      name,
      ph: "X",
      pid: 1,
      tid: LANES[kind],
      cat: kind,
      ts: 1000 * (beganMs - began),
      dur: 1000 * ms,
      ...(kind === "group" && { args: { bytes, flops } }),
    };
  });
  return {
    traceEvents: [lane(LANES.group, "kernels"), lane(LANES.host, "host"), ...events],
    displayTimeUnit: "ms",
    otherData: { dropped },
  };
}
