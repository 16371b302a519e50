import type { CurvePoint, CurveSummary } from "./curves.js";
import { markdownTable } from "./markdown.js";
import type { Overhead } from "./overhead.js";
import type { PairedSample, PairedSummary } from "./paired.js";

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
      s.terms ? percent(s.terms.deviation) : "–",
      s.fit ? `${s.fit.from} to ${s.fit.to}` : "–",
      s.ended,
      parts.map(([part, share]) => `${part} ${percent(share, 0)}`).join(", "),
    ];
  });
  return [
    `![Time of a training step against batch, length, width and depth](${image})`,
    `Slopes are of lines fitted to logarithms over the larger half of each series, where a step takes over 5 ms; "off" is the largest distance of a point from its line. Length and width enter both in proportion and squared (attention compares all pairs of tokens, weights have width² numbers): for these the same points are also held against a sum of both. A series ends when a step takes 2 s or its tensors 2 GiB.`,
    markdownTable(
      ["series", "fixed", "sizes", "slope", "off", "off a·n + b·n²", "fitted", "ended by", "largest step is"],
      rows,
    ),
  ].join("\n\n");
}

/** Markdown of a run of `paired`: every process, and the ratios. */
export function pairedMarkdown(lines: readonly (PairedSample | PairedSummary)[]): string {
  return lines
    .filter((l): l is PairedSummary => "summary" in l)
    .map((s) => {
      const samples = lines.filter((l): l is PairedSample => !("summary" in l));
      const rows = Array.from({ length: s.pairs }, (_, i) => {
        const at = (side: PairedSample["side"]) => samples.find((l) => l.pair === i + 1 && l.side === side)!;
        const [before, after] = [at("before"), at("after")];
        return [
          String(i + 1),
          ...[before.wall_s, after.wall_s, s.wall_ratios[i]!].map((x) => x.toFixed(2)),
          ...[before.training_s, after.training_s, s.training_ratios[i]!].map((x) => x.toFixed(2)),
        ];
      });
      return [
        `The quick start at ${s.before.slice(0, 10)} and at ${s.after.slice(0, 10)}, ${s.steps} steps on ${s.threads} threads; ${s.machine}. Ratio of medians: whole process ${s.wall_ratio.toFixed(2)} × as fast, training ${s.training_ratio.toFixed(2)} ×.`,
        markdownTable(
          ["pair", "process before, s", "after", "ratio", "training before, s", "after", "ratio"],
          rows,
        ),
      ].join("\n\n");
    })
    .join("\n\n");
}
