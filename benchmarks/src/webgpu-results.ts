import { goalsMarkdown } from "./goals.js";
import { markdownTable } from "./markdown.js";
import type { Sample, Summary } from "./result.js";
import { OURS_GPU } from "./statistics.js";
import { workOf } from "./work.js";
import { WEBGPU_ROWS } from "./rows/index.js";

const number = (x: number | null | undefined): string => x?.toPrecision(3) ?? "–";
const share = (x: number | null | undefined): string => x?.toFixed(2) ?? "–";

/** What the probes reached at most, in the words of a data sheet. */
function limitsText(probes: readonly Sample[]): string {
  const best = new Map<string, Sample>();
  for (const p of probes)
    if (p.best_ms !== null && p.best_ms < (best.get(p.row)?.best_ms ?? Infinity)) best.set(p.row, p);
  return [...best.values()]
    .map((p) => {
      const { bytes, flops } = workOf(WEBGPU_ROWS.find((row) => row.name === p.row)!.spec);
      const [amount, unit] = bytes > 0 ? [bytes, "GB/s read and written"] : [flops, "GFLOP/s"];
      return `${p.row} ${number(amount / p.best_ms! / 1e6)} ${unit}`;
    })
    .join(", ");
}

/** The last line of each row and library: runs of some rows may follow one another, each with probes of its own. */
function latest(lines: readonly (Sample | Summary)[]): (Sample | Summary)[] {
  const key = (l: Sample | Summary): string => `${l.row} ${"lib" in l ? l.lib : ""}`;
  return [...new Map(lines.map((l) => [key(l), l])).values()];
}

/** A run of `webgpu`: times, shares of what the adapter can do, what a run asks of the device, and goals. */
export function webgpuMarkdown(all: readonly (Sample | Summary)[]): string {
  const lines = latest(all);
  const samples = lines.filter((l): l is Sample => !("summary" in l));
  const runs = all.filter((l) => "lib" in l && l.lib === "adapter" && l.row === "copy").length;
  const [probes, timed] = [
    all.filter((l): l is Sample => "lib" in l && l.lib === "adapter"),
    samples.filter((s) => s.lib !== "adapter"),
  ];
  const libs = [...new Set(timed.map((s) => s.lib))];
  const summaries = lines.filter((l): l is Summary => "summary" in l);
  const at = (row: string, lib: string): Sample | undefined =>
    timed.find((s) => s.row === row && s.lib === lib);
  const ours = (row: string): Sample | undefined => at(row, OURS_GPU);
  const time = (s: Sample | undefined): string =>
    s?.lib === OURS_GPU && s.q1_ms !== null
      ? `${number(s.median_ms)} (${number(s.q1_ms)}–${number(s.q3_ms)})`
      : number(s?.median_ms);
  const times = summaries.map((s) => [
    s.row,
    ...libs.map((lib) => time(at(s.row, lib))),
    share(s.ratio_best_js),
    share(s.ratio_cpu),
    share(ours(s.row)?.of_bandwidth),
    share(ours(s.row)?.of_f32),
  ]);
  const asked = summaries.map((s) => [
    s.row,
    ...libs.map((lib) => number(at(s.row, lib)?.first_ms)),
    ...libs.map((lib) => {
      const counts = at(s.row, lib)?.counts;
      return counts ? `${counts.dispatches} / ${counts.passes} / ${counts.submits}` : "–";
    }),
  ]);
  const reasons = new Set(
    samples.flatMap((s) => {
      if (s.absent) return [`- ${s.lib}: ${s.absent}`];
      if (s.cannot) return [`- ${s.lib}, ${s.row}: ${s.cannot}`];
      return s.fewer ? [`- ${s.lib}, ${s.row}: ${s.samples} samples, ${s.fewer}`] : [];
    }),
  );
  const details = [...new Set(samples.flatMap((s) => s.details ?? []))];
  const some = samples.find((s) => s.adapter);
  const machines = [...new Set(samples.flatMap((s) => s.machine ?? []))];
  return [
    `Adapter: **${some?.adapter ?? "none"}**. ${machines.join("; some rows: ")}. ${details.join("; ")}.`,
    `Adapter alone: ${limitsText(probes)}. ${runs > 1 ? `${runs} runs of some rows each, with probes of their own. ` : ""}The shares are ours: the least bytes of a row over the faster copy, and the multiplications and additions of its products over fma. *By work* holds what all processors did in a run, which on a software adapter is what its kernels cost.`,
    markdownTable(["row", ...libs, "× best peer", "by work", "of copy", "of f32"], times),
    "First run of a process in ms (pipelines are compiled), and dispatches / passes / submits of a later run, its read included:",
    markdownTable(["row", ...libs.map((lib) => `${lib} first`), ...libs], asked),
    goalsMarkdown(samples),
    [...reasons].join("\n"),
  ]
    .filter((part) => part !== "")
    .join("\n\n");
}
