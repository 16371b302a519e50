import type { EstimateSample } from "./estimates.js";
import { markdownTable } from "./markdown.js";

const mebi = (bytes: number): string => (bytes / 2 ** 20).toFixed(0);

/** Markdown of a run of `estimates`. */
export function estimatesMarkdown(lines: readonly EstimateSample[]): string {
  const [first] = lines;
  if (first === undefined) return "";
  const worst = (fitted: boolean): string => {
    const off = lines.filter((l) => l.fitted === fitted).map(({ ratio }) => Math.abs(ratio - 1));
    return `${(100 * Math.max(...off)).toFixed(1)} %`;
  };
  return [
    `${first.machine}; ${first.threads === 1 ? "one thread" : `${first.threads} threads`}. \`lowrank estimate\` beside \`lowrank generate\` and \`lowrank finetune\` (rank 8 on all linear layers), each a process of its own: the peak of its resident memory in MiB. Tokens are those of a row, or of a prompt with its answer. Farthest off: ${worst(false)}, and ${worst(true)} over the runs marked as fitted, on which a constant was found. Seconds are those of a token or a step; they hold for a machine that is as busy as when its speed was measured.`,
    markdownTable(
      [
        "model",
        "method",
        "batch",
        "tokens",
        "",
        "predicted",
        "measured",
        "ratio",
        "predicted s",
        "measured s",
      ],
      lines.map((l) => [
        l.model,
        l.method,
        String(l.batch),
        String(l.tokens),
        l.fitted ? "fitted" : "",
        mebi(l.predicted_bytes),
        mebi(l.measured_bytes),
        l.ratio.toFixed(3),
        l.predicted_s.toPrecision(2),
        l.measured_s.toPrecision(2),
      ]),
    ),
  ].join("\n\n");
}
