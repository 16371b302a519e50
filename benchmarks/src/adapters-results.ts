import type { AdapterChange, AdapterLine, AdapterTime, AdapterTune, PeftTime } from "./adapters.js";
import { ADAPTER_METHODS, type AdapterMethod, type MethodName } from "./adapters-methods.js";
import { changeTrend } from "@lowrank/adapters";
import { markdownTable } from "./markdown.js";

const mean = (xs: readonly number[]): number => xs.reduce((a, b) => a + b, 0) / xs.length;
/** Standard deviation of a sample. */
const spread = (xs: readonly number[]): number =>
  xs.length < 2
    ? Number.NaN
    : Math.sqrt(xs.reduce((sum, x) => sum + (x - mean(xs)) ** 2, 0) / (xs.length - 1));

export const linesOf = <P extends AdapterLine["part"]>(
  lines: readonly AdapterLine[],
  part: P,
): Extract<AdapterLine, { part: P }>[] =>
  lines.filter((l): l is Extract<AdapterLine, { part: P }> => l.part === part);

/** The comparison as Markdown: a row for each method, best perplexity first, and what has to be said of some. */
export function adaptersMarkdown(lines: readonly AdapterLine[], images: readonly string[] = []): string {
  const runs = linesOf(lines, "run");
  const times = linesOf(lines, "time");
  if (runs.length === 0 && times.length === 0) return tuneTable(linesOf(lines, "tune"));
  const lora = times.find((t) => t.row === "lora")?.step_ms;
  const frozen = runs.find((r) => r.row === "frozen")?.perplexity;
  const names = [...new Set([...runs, ...times].map((l) => l.row))];
  const rows = names
    .map((row) => {
      const own = runs.filter((r) => r.row === row);
      return {
        row,
        own,
        perplexity: own.length > 0 ? mean(own.map((r) => r.perplexity)) : Number.POSITIVE_INFINITY,
        time: times.find((t) => t.row === row),
      };
    })
    .sort((a, b) => (a.perplexity === b.perplexity ? 0 : a.perplexity - b.perplexity));
  const cells = rows.map(({ row, own, perplexity, time }) => [
    row,
    own[0]?.parameters.toLocaleString("en") ?? "–",
    own[0] && own[0].lr > 0 ? String(own[0].lr) : "–",
    time ? time.step_ms.toPrecision(3) : "–",
    time && lora !== undefined ? (time.step_ms / lora).toFixed(2) : "–",
    own.length > 0 ? perplexity.toFixed(1) : "–",
    own.length > 1 ? `± ${spread(own.map((r) => r.perplexity)).toFixed(2)}` : "–",
    own.some((r) => r.merge_error !== null)
      ? Math.max(...own.map((r) => r.merge_error ?? 0)).toExponential(1)
      : "–",
  ]);
  const head = ["method", "trained", "lr", "ms a step", "× LoRA", "perplexity", "spread", "merge error"];
  const worse = rows
    .filter(({ own, perplexity }) => own.length > 0 && frozen !== undefined && perplexity > frozen)
    .map(({ row }) => row);
  const untrained = rows.filter(({ own }) => own.length === 0).map(({ row }) => row);
  const notes = rows.flatMap(({ row }) => {
    const { note }: AdapterMethod = ADAPTER_METHODS[row as MethodName] ?? {};
    return note === undefined ? [] : [`- ${row}: ${note}.`];
  });
  const { steps } = runs.find((r) => r.steps > 0) ?? { steps: 0 };
  const seeds = Math.max(0, ...rows.map(({ own }) => own.length));
  return [
    ...images.map((image) => `![${image.replace(/\.svg$/, "")}](${image})`),
    `The base of the quick start on Moby-Dick: every linear layer of its four blocks, ${steps} steps of 2 rows of 256 tokens, AdamW (SODA's rotations by StiefelAdam), gradients clipped to 1, each method at the learning rate that did best in its first steps on another seed (those that were not tried take that of their nearest kin). Perplexity over a third of the held-out chapters, mean and standard deviation over ${seeds} runs that differ in start and order; merge error is the largest difference of a logit over the largest logit, the worst of the runs. Time is the median of ${times[0]?.samples ?? 0} steps on ${times[0]?.threads ?? 1} thread, all methods in turns. ${(runs[0] ?? times[0]!).machine}.`,
    markdownTable(head, cells),
    worse.length === 0
      ? "No method is worse than the frozen base."
      : `Worse than the frozen base: ${worse.join(", ")}.`,
    untrained.length === 0 ? "" : `Timed, and not yet trained: ${untrained.join(", ")}.`,
    notes.join("\n"),
    costsMarkdown(times, linesOf(lines, "peft")),
    changesMarkdown(linesOf(lines, "change")),
  ]
    .filter((part) => part !== "")
    .join("\n\n");
}

function tuneTable(lines: readonly AdapterTune[]): string {
  const rates = [...new Set(lines.map((l) => l.lr))].sort((a, b) => a - b);
  const rows = [...new Set(lines.map((l) => l.row))].map((row) => [
    row,
    ...rates.map((lr) => lines.find((l) => l.row === row && l.lr === lr)?.loss.toFixed(3) ?? "–"),
  ]);
  return markdownTable(["loss at a learning rate of", ...rates.map(String)], rows);
}

/** Cost of a step asked of DoRA, over LoRA's. */
const DORA_GOAL = 1.35;

/** What a step of the methods that turn or scale a weight costs over LoRA's, beside the same in PEFT. */
function costsMarkdown(times: readonly AdapterTime[], peft: readonly PeftTime[]): string {
  const ratio = (all: readonly (AdapterTime | PeftTime)[], row: MethodName): number | undefined => {
    const [own, lora] = [row, "lora"].map((name) => all.find((t) => t.row === name)?.step_ms);
    return own === undefined || lora === undefined ? undefined : own / lora;
  };
  const rows = (["dora", "hra", "oft"] as const).flatMap((row) => {
    const ours = ratio(times, row);
    return ours === undefined ? [] : [[row, ours.toFixed(2), ratio(peft, row)?.toFixed(2) ?? "–"]];
  });
  if (rows.length === 0) return "";
  const dora = ratio(times, "dora");
  return [
    `Time of a step over LoRA's, here and in PEFT (${peft[0]?.details ?? "not measured"}; each library against itself).${dora === undefined ? "" : ` DoRA was asked to cost at most ${DORA_GOAL}: ${dora <= DORA_GOAL ? "reached" : "missed"}.`}`,
    markdownTable(["method", "× LoRA here", "× LoRA in PEFT"], rows),
  ].join("\n\n");
}

/** Correlation of the changes of magnitude and direction, as in the DoRA paper. */
function changesMarkdown(changes: readonly AdapterChange[]): string {
  const rows = [...new Set(changes.map((c) => c.row))];
  if (rows.length === 0) return "";
  const cells = rows.flatMap((row) =>
    ["q_proj", "v_proj"].map((layer) => {
      const own = changes.filter((c) => c.row === row && c.path.endsWith(layer));
      const { correlation, slope } = changeTrend(own);
      return [row, layer, String(own.length), correlation.toFixed(2), slope.toFixed(2)];
    }),
  );
  return [
    "How the change of magnitude ΔM goes with the change of direction ΔD over layers and four checkpoints of one run (arXiv:2402.09353, section 3.2; the paper has, for queries, −0.62 for full fine-tuning, +0.83 for LoRA and −0.31 for DoRA):",
    markdownTable(["method", "layers", "points", "correlation", "slope"], cells),
  ].join("\n\n");
}
