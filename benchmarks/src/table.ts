import Table from "cli-table3";
import type { Point, Verdict } from "./memory.js";
import type { CurvePoint, CurveSummary } from "./curves.js";
import type { Overhead, StepTimes } from "./overhead.js";
import type { PairedSample, PairedSummary } from "./paired.js";
import type { Sample, Summary } from "./result.js";

const plain = { head: [], border: [], compact: true };
const mebi = (bytes: number): string => (bytes / 2 ** 20).toFixed(2);
const percent = (x: number): string => `${(100 * x).toFixed(2)} %`;

/** One row for each benchmark, one column for each library; below, why a cell is empty. */
export function coreTable(lines: readonly (Sample | Summary)[]): string {
  const samples = lines.filter((l): l is Sample => !("summary" in l));
  const libs = [...new Set(samples.map((s) => s.lib))];
  const table = new Table({
    head: ["median ms", ...libs, "× best JS", "× native"],
    colAligns: ["left", ...Array(libs.length + 2).fill("right")],
    style: plain,
  });
  const reasons = new Map<string, string>();
  for (const line of lines) {
    if (!("summary" in line)) continue;
    const cells = libs.map((lib) => {
      const found = samples.find((s) => s.row === line.row && s.lib === lib);
      if (found && typeof found.median_ms === "number") return found.median_ms.toPrecision(3);
      if (found?.absent) reasons.set(`${lib}: absent`, found.absent);
      if (found?.cannot) reasons.set(`${lib}: cannot do ${line.row}`, found.cannot);
      return found?.absent ? "absent" : "–";
    });
    const ratio = (x: number | null): string => (x === null ? "–" : x.toFixed(2));
    table.push([line.row, ...cells, ratio(line.ratio_best_js), ratio(line.ratio_native)]);
  }
  return [table.toString(), ...[...reasons].map(([what, why]) => `${what}: ${why}`)].join("\n");
}

/** The curve of one loop, and what it says. */
export function memoryTable(points: readonly Point[], verdict: Verdict): string {
  const table = new Table({
    head: ["step", "loss", "live MiB", "owned", "arena", "heap", "external", "process"],
    colAligns: Array(8).fill("right"),
    style: plain,
  });
  for (const p of points) {
    const sizes = [p.live_bytes, p.owned_bytes, p.arena_bytes, p.heap_bytes, p.external_bytes, p.rss_bytes];
    table.push([String(p.step), p.loss.toFixed(3), ...sizes.map(mebi)]);
  }
  const judged = `${verdict.row}: growth after step 10: ${percent(verdict.growth)}${verdict.flat ? "" : ", which is not flat"}`;
  return `${verdict.about}\n${table}\n${judged} (process: ${percent(verdict.rss_growth)})\n`;
}

const PARTS = {
  build_ms: "graph of the step",
  trace_ms: "walk and key",
  find_ms: "look-up",
  schedule_ms: "schedule",
  encode_ms: "encode",
  bind_ms: "bind",
  keep_ms: "keep results",
} as const;

/** Where the host's time in a step goes, and what memory its plan takes. */
export function overheadTable(found: Overhead): string {
  const { step, first, plan } = found;
  const table = new Table({
    head: ["", "ms, median step", "share", "ms, first step"],
    colAligns: ["left", "right", "right", "right"],
    style: plain,
  });
  const line = (name: string, ms: number, firstMs: number): number =>
    table.push([name, ms.toFixed(2), percent(ms / step.step_ms), firstMs.toFixed(1)]);
  const rest = (times: StepTimes, host: number): number =>
    Object.keys(PARTS).reduce((ms, part) => ms - times[part as keyof StepTimes], host);
  line("step", step.step_ms, first.step_ms);
  line(`${step.groups} fused groups`, step.kernels_ms, first.kernels_ms);
  line("host", found.host_ms, found.first_host_ms);
  for (const [part, name] of Object.entries(PARTS))
    line(`  ${name}`, step[part as keyof StepTimes], first[part as keyof StepTimes]);
  line("  other", rest(step, found.host_ms), rest(first, found.first_host_ms));
  return [
    found.about,
    table.toString(),
    `${found.row}: host ${percent(found.host_share)} of a step (median of ${found.steps}, ${found.threads} thread${found.threads > 1 ? "s" : ""})`,
    `arena ${mebi(plan.arena_bytes)} MiB for ${mebi(plan.alive_bytes)} MiB alive at once (× ${found.plan_ratio}), ${mebi(plan.with_workspace_bytes)} MiB with workspace;`,
    `backend: ${mebi(found.owned_bytes)} MiB owned, peak ${mebi(found.peak_bytes)} MiB`,
    "",
  ].join("\n");
}

/** Times by size of each series, and the line through their larger half. */
export function curveTable(lines: readonly (CurvePoint | CurveSummary)[]): string {
  const table = new Table({
    head: ["series", "size: ms", "slope", "off", "off a·n + b·n²", "ended by"],
    colAligns: ["left", "left", "right", "right", "right", "left"],
    colWidths: [null, 72, null, null, null, null],
    wordWrap: true,
    style: plain,
  });
  for (const line of lines) {
    if (!("summary" in line)) continue;
    const points = lines.filter((l): l is CurvePoint => !("summary" in l) && l.row === line.row);
    const times = points.map((p) => `${p.size}: ${p.best_ms.toPrecision(3)}`).join("  ");
    const { fit, ended } = line;
    table.push([
      line.row,
      times,
      fit ? fit.slope.toFixed(2) : "–",
      fit ? percent(fit.deviation) : "–",
      ended,
    ]);
  }
  return table.toString();
}

/** Each run of two commits, and how their medians compare. */
export function pairedTable(samples: readonly PairedSample[], summary: PairedSummary): string {
  const table = new Table({
    head: ["pair", "side", "process s", "training s", "perplexity"],
    colAligns: ["right", "left", "right", "right", "right"],
    style: plain,
  });
  for (const s of samples)
    table.push([
      String(s.pair),
      s.side,
      s.wall_s.toFixed(2),
      s.training_s.toFixed(2),
      s.perplexity_after.toFixed(2),
    ]);
  const { before, after, wall_s, training_s, wall_ratio, training_ratio } = summary;
  const line = (what: string, seconds: Record<"before" | "after", number>, ratio: number): string =>
    `${what}: ${seconds.before} s before, ${seconds.after} s after, ${ratio.toFixed(2)} × as fast`;
  return [
    table.toString(),
    `${before.slice(0, 10)} against ${after.slice(0, 10)}, ${summary.steps} steps on ${summary.threads} threads, medians of ${summary.pairs}`,
    line("whole process", wall_s, wall_ratio),
    line("training", training_s, training_ratio),
  ].join("\n");
}
