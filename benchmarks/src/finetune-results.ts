import * as Plot from "@observablehq/plot";
import { parseHTML } from "linkedom";
import { FINETUNE_ROWS, type FinetuneSample } from "./finetune.js";
import { markdownTable } from "./markdown.js";

/** Share of torch's speed that is aimed at. */
const GOALS: Readonly<Record<string, number>> = { "lowrank-wasm": 0.45, "lowrank-native": 0.8 };

const mebi = (bytes: number): string => String(Math.round(bytes / 2 ** 20));

/** How far two curves are apart at most, relative to the first. */
export const apart = (a: readonly number[], b: readonly number[]): number =>
  Math.max(...a.map((x, i) => Math.abs(x - b[i]!) / x));

/** Runs of `finetune` as Markdown: speed and memory beside torch's, row by row, and what came of the goals. */
export function finetuneMarkdown(lines: readonly FinetuneSample[], image?: string): string {
  const [first] = lines;
  if (first === undefined) return "";
  const verdicts: string[] = [];
  const rows = lines.map((l) => {
    const torch = lines.find((o) => o.row === l.row && o.lib === "torch");
    const [speed, memory] = torch
      ? [torch.step_ms / l.step_ms, l.peak_rss_bytes / torch.peak_rss_bytes]
      : [null, null];
    const goal = GOALS[l.lib];
    if (goal !== undefined && torch) {
      const fast = speed! >= goal ? "reached" : "missed";
      const small = memory! < 1 ? "reached" : "missed";
      verdicts.push(
        `- ${l.row}, ${l.lib}: ${speed!.toFixed(2)} of torch's speed (${goal} asked: ${fast}), ${memory!.toFixed(2)} of its memory (below 1 asked: ${small}); losses of ${l.steps} steps at most ${(100 * apart(torch.losses, l.losses)).toPrecision(2)} % apart.`,
      );
    }
    return [
      `${l.row}, ${l.lib}`,
      l.tokens_per_second.toPrecision(3),
      speed?.toFixed(2) ?? "–",
      (l.step_cpu_ms / 1000).toFixed(2),
      mebi(l.peak_rss_bytes),
      memory?.toFixed(2) ?? "–",
      l.tensor_bytes === undefined ? "–" : mebi(l.tensor_bytes),
      l.losses[0]!.toFixed(4),
      l.losses.at(-1)!.toFixed(4),
    ];
  });
  const head = [
    "",
    "tokens/s",
    "× torch",
    "CPU s a step",
    "peak MiB",
    "× torch",
    "tensors MiB",
    "first loss",
    "last",
  ];
  const details = [...new Set(lines.map((l) => l.details))].join("; ");
  const abouts = [...new Set(lines.map((l) => l.row))].map((row) => `- ${row}: ${FINETUNE_ROWS[row].about}.`);
  return [
    ...(image === undefined ? [] : [`![Loss while fine-tuning](${image})`]),
    `SmolLM2-135M-Instruct, LoRA of rank ${first.rank} on all linear layers, ${first.batch} rows of ${first.length} tokens of Moby-Dick, AdamW; all begin with the same adapter and see the same batches. Each run is a process of its own: ${first.runs} runs of ${first.steps} steps in turns, medians over steps; peak is the largest resident memory of the process. ${first.machine}; ${first.threads} threads. ${details}.`,
    markdownTable(head, rows),
    [...abouts, ...verdicts].join("\n"),
  ].join("\n\n");
}

/** Loss against step, one line for each library and row. */
export function drawFinetune(lines: readonly FinetuneSample[]): string {
  const { document } = parseHTML("<!doctype html><html><body></body></html>");
  const points = lines.flatMap((l) =>
    l.losses.map((loss, i) => ({ step: i + 1, loss, run: `${l.row}, ${l.lib}` })),
  );
  const svg = Plot.plot({
    document: document as unknown as Document,
    width: 900,
    height: 420,
    marginLeft: 56,
    marginRight: 220,
    style: { background: "#fff", color: "#1d2733", fontSize: "13px", fontFamily: "system-ui, sans-serif" },
    x: { label: "step", tickFormat: "d" },
    y: { label: "loss, nats a token", grid: true, nice: true },
    marks: [
      Plot.line(points, { x: "step", y: "loss", stroke: "run", strokeWidth: 1.6, strokeOpacity: 0.75 }),
      ...[...new Set(points.map((p) => p.run))].map((run, i) =>
        Plot.text([run], { frameAnchor: "top-right", dx: 210, dy: 18 * i, text: [run], fill: () => run }),
      ),
    ],
    color: { scheme: "Dark2" },
  }) as SVGSVGElement;
  svg.setAttribute("xmlns", "http://www.w3.org/2000/svg");
  svg.setAttribute("role", "img");
  svg.setAttribute("aria-label", "Loss while fine-tuning");
  return `${svg.outerHTML}\n`;
}
