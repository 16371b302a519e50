import Table from "cli-table3";
import type { Point, Verdict } from "./memory.js";
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
