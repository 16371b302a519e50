import { markdownTable } from "./markdown.js";
import type { Pace, ThreadCell, ThreadVerdict } from "./threads.js";

/** From here on several threads are clearly faster. */
const GAIN = 0.9;

/** A run of `threads`: for each operation its worst size, the size from which threads pay, and its best. */
export function threadsMarkdown(lines: readonly (ThreadCell | ThreadVerdict)[]): string {
  const cells = lines.filter((l): l is ThreadCell => !("summary" in l));
  const verdict = lines.find((l): l is ThreadVerdict => "summary" in l);
  const spread = ({ ratio, quarter, three_quarters }: ThreadCell): string =>
    `${ratio.toFixed(2)} (${quarter.toFixed(2)} to ${three_quarters.toFixed(2)})`;
  const rows = [...new Set(cells.map((c) => c.row))].map((row) => {
    const own = cells.filter((c) => c.row === row);
    const sorted = [...own].sort((a, b) => b.ratio - a.ratio);
    const [worst, best] = [sorted[0]!, sorted.at(-1)!];
    const pays = (pace: Pace): string =>
      String(own.find((c) => c.pace === pace && c.ratio < GAIN)?.size ?? "–");
    return [
      row,
      spread(worst),
      `${worst.size}, ${worst.pace}`,
      pays("busy"),
      pays("rested"),
      `${best.ratio.toFixed(2)} at ${best.size}`,
    ];
  });
  const slower = cells.filter((c) => verdict && c.ratio > verdict.limit);
  return [
    `Time on ${verdict?.threads ?? 2} threads over time on one, both in one process in turns, three sizes a decade from 1 up: the median of pairs, and the interval that holds half of them. *Busy*: without a pause between runs; *rested*: each run after 0.5 ms of rest, in which the other threads have gone to sleep. ${verdict?.machine ?? ""}.`,
    `${slower.length} of ${cells.length} cells are above ${verdict?.limit}${slower.length > 0 ? `: ${slower.map((c) => `${c.row} of ${c.size}, ${c.pace}, ${spread(c)}`).join("; ")}` : ""}.`,
    markdownTable(["operation", "worst", "at", "pays from, busy", "from, rested", "best"], rows),
  ].join("\n\n");
}
