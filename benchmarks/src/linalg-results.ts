import { markdownTable } from "./markdown.js";
import type { Sample, Summary } from "./result.js";
import { OURS } from "./statistics.js";

const NATIVE = "numpy";

/** A Markdown table of a run of `linalg`: times by the clock, and the ratios by what processors worked. */
export function linalgMarkdown(lines: readonly (Sample | Summary)[]): string {
  const samples = lines.filter((l): l is Sample => !("summary" in l));
  const libs = [...new Set(samples.map((s) => s.lib))];
  const rows = [...new Set(samples.map((s) => s.row))].map((row) => {
    const timed = samples.filter((s) => s.row === row && s.median_ms !== null);
    const of = (lib: string) => timed.find((s) => s.lib === lib);
    const cell = (lib: string): string => {
      const found = of(lib);
      if (!found) return "–";
      return `${found.median_ms!.toPrecision(3)} (${found.cpu_ms?.toPrecision(3) ?? "–"})`;
    };
    const worked = (some: readonly Sample[]): number =>
      Math.min(...some.flatMap(({ cpu_ms }) => cpu_ms ?? []));
    const ours = of(OURS)?.cpu_ms;
    const ratio = (some: readonly Sample[]): string => {
      const best = worked(some);
      return ours && Number.isFinite(best) ? (best / ours).toFixed(2) : "–";
    };
    const peers = timed.filter(({ lib }) => !lib.startsWith("lowrank") && lib !== NATIVE);
    return [row, ...libs.map(cell), ratio(peers), ratio(timed.filter(({ lib }) => lib === NATIVE))];
  });
  const details = new Set(samples.flatMap((s) => s.details ?? []));
  const { threads } = samples[0]!;
  const machine = samples.find((s) => s.machine)?.machine ?? "unknown machine";
  return [
    `${machine}; ${threads === 1 ? "one thread" : `${threads} threads`}. ${[...details].join("; ")}. In brackets what processors worked in a run, from which the columns with × are made, so that what else a machine does counts for less. A dash: the library cannot do it.`,
    markdownTable(["row", ...libs, "× best JS", `× ${NATIVE}`], rows),
  ].join("\n\n");
}
