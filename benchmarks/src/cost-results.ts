import type { CurvePoint, CurveSummary } from "./curves.js";
import { markdownTable } from "./markdown.js";
import type { Overhead } from "./overhead.js";

const percent = (x: number, digits = 1): string => `${(100 * x).toFixed(digits)} %`;
const mebi = (bytes: number): string => (bytes / 2 ** 20).toFixed(1);

/** Markdown of a run of `overhead`: time and memory of a step. */
export function overheadMarkdown(lines: readonly Overhead[]): string {
  return lines
    .map((l) => {
      const rows = (
        [
          ["whole", "step_ms"],
          ["kernels", "kernels_ms"],
          ["graph of the step", "build_ms"],
          ["walk and key", "trace_ms"],
          ["look-up", "find_ms"],
          ["schedule", "schedule_ms"],
          ["encode", "encode_ms"],
          ["bind", "bind_ms"],
          ["keep results", "keep_ms"],
        ] as const
      ).map(([name, part]) => [name, l.step[part].toFixed(2), l.first[part].toFixed(1)]);
      return [
        `**${l.row}**: ${l.about}. ${l.machine}; ${l.threads === 1 ? "one thread" : `${l.threads} threads`}. The host takes ${percent(l.host_share)} of a step (median of ${l.steps}), ${l.host_ms.toFixed(1)} ms.`,
        markdownTable(["ms", "a step", "first step"], rows),
        `Temporaries of the step: ${mebi(l.plan.arena_bytes)} MiB laid out for ${mebi(l.plan.alive_bytes)} MiB alive at once, × ${l.plan_ratio}; with workspace of the kernels ${mebi(l.plan.with_workspace_bytes)} MiB, with the tensors that are held at most ${mebi(l.peak_bytes)} MiB.`,
      ].join("\n\n");
    })
    .join("\n\n");
}

/** Markdown of a run of `curves`: the plot, and a row for each series. */
export function curvesMarkdown(lines: readonly (CurvePoint | CurveSummary)[], image: string): string {
  const summaries = lines.filter((l): l is CurveSummary => "summary" in l);
  const rows = summaries.map((s) => {
    const points = lines.filter((l): l is CurvePoint => !("summary" in l) && l.row === s.row);
    const parts = Object.entries(s.parts).slice(0, 3);
    return [
      s.row,
      s.about,
      `${points[0]?.size ?? "–"} to ${points.at(-1)?.size ?? "–"}`,
      s.fit ? s.fit.slope.toFixed(2) : "–",
      s.fit ? percent(s.fit.deviation) : "–",
      s.fit ? `${s.fit.from} to ${s.fit.to}` : "–",
      s.ended,
      parts.map(([part, share]) => `${part} ${percent(share, 0)}`).join(", "),
    ];
  });
  return [
    `![Time of a training step against batch, length, width and depth](${image})`,
    `Slopes are of lines fitted to logarithms over the larger half of each series, where a step takes over 5 ms; "off" is the largest distance of a point from its line. A series ends when a step takes 2 s or its tensors 2 GiB.`,
    markdownTable(
      ["series", "fixed", "sizes", "slope", "off", "fitted", "ended by", "largest step is"],
      rows,
    ),
  ].join("\n\n");
}
