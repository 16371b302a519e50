import type { GenerateSample } from "./generate.js";
import { markdownTable } from "./markdown.js";

/** Markdown of a run of `generate`. */
export function generateMarkdown(lines: readonly GenerateSample[]): string {
  const [first] = lines;
  if (first === undefined) return "";
  const turns = Math.max(...lines.map((l) => l.turns.length));
  const rate = (x: number): string => String(Number(x.toPrecision(3)));
  const cell = (x: number | null): string => (x === null ? "–" : rate(x));
  const range = (l: GenerateSample): string => {
    const rates = l.turns.map((t) => t.decode_per_s);
    return rates.length === 0 ? "–" : `${rate(Math.min(...rates))} to ${rate(Math.max(...rates))}`;
  };
  const [ours] = lines.filter((l) => l.text !== "");
  return [
    `${first.machine}; ${first.threads === 1 ? "one thread" : `${first.threads} threads`}. ${first.row}, a prompt of ${first.prompt_tokens} tokens and ${first.new_tokens} more, greedily; tokens a second, medians of ${turns} turns in alternating order, each a process of its own after a warm-up.`,
    markdownTable(
      ["library", "prefill", "decode", "decode, turns", "same text", "what"],
      lines.map((l) => [
        l.lib,
        cell(l.prefill_per_s),
        cell(l.decode_per_s),
        range(l),
        l.text === "" ? "–" : l.text === ours!.text ? "yes" : "no",
        l.cannot ?? l.details,
      ]),
    ),
  ].join("\n\n");
}
