import { readdir, readFile, writeFile } from "node:fs/promises";
import { fileURLToPath } from "node:url";
import type { AttentionLine } from "./attention.js";
import { attentionMarkdown } from "./attention-results.js";
import type { AdapterLine } from "./adapters.js";
import { drawAdapters, drawChanges } from "./adapters-plot.js";
import { adaptersMarkdown, linesOf } from "./adapters-results.js";
import { curvesMarkdown, overheadMarkdown, pairedMarkdown } from "./cost-results.js";
import type { CurvePoint, CurveSummary } from "./curves.js";
import { drawCurves } from "./curves-plot.js";
import { type DispatchCost, dispatchesMarkdown } from "./dispatches.js";
import type { EstimateSample } from "./estimates.js";
import { estimatesMarkdown } from "./estimates-results.js";
import type { FinetuneSample } from "./finetune.js";
import { drawFinetune, finetuneMarkdown } from "./finetune-results.js";
import type { GenerateSample } from "./generate.js";
import { generateMarkdown } from "./generate-results.js";
import { goalsMarkdown } from "./goals.js";
import type { ErrorLine } from "./linalg-errors.js";
import { linalgErrorsMarkdown } from "./linalg-errors-results.js";
import { drawLinalg } from "./linalg-plot.js";
import { librariesOf } from "./libraries.js";
import { linalgMarkdown } from "./linalg-results.js";
import { type MainJob, mainJobMarkdown } from "./main-job-results.js";
import { markdownTable } from "./markdown.js";
import type { Point, Verdict } from "./memory.js";
import type { Overhead } from "./overhead.js";
import type { PairedSample, PairedSummary } from "./paired.js";
import type { Sample, Summary } from "./result.js";
import type { ServingLine } from "./serving.js";
import { servingMarkdown } from "./serving-results.js";
import { OURS, summarize } from "./statistics.js";
import { threadsMarkdown } from "./thread-results.js";
import type { ThreadCell, ThreadVerdict } from "./threads.js";
import { webgpuMarkdown } from "./webgpu-results.js";

type Line =
  | AttentionLine
  | AdapterLine
  | ErrorLine
  | EstimateSample
  | FinetuneSample
  | GenerateSample
  | MainJob
  | Sample
  | Summary
  | Point
  | Verdict
  | Overhead
  | DispatchCost
  | CurvePoint
  | CurveSummary
  | PairedSample
  | PairedSummary
  | ServingLine
  | ThreadCell
  | ThreadVerdict;

const folder = fileURLToPath(new URL("../results/", import.meta.url));
const INTRODUCTION = `# Results

Lines as \`pnpm bench NAME --json\` prints them, one file a run, and the tables made from them by \`pnpm bench results\`.

Each library runs in a process of its own; they take turns in alternating order after a warm-up, and every run is timed
with a read of one number of its result. Times are medians in milliseconds, with the first and third quartile for ours.
The columns with × are ratios of speed: ours over the fastest other JavaScript library, over numpy (OpenBLAS), torch and
onnxruntime-node; above 1 we are faster. The results of all libraries were compared with each other in the same run. A
number of one machine under one load says little alone; the ratios hold better, because the libraries took turns.
`;

/** Native libraries that ours is held against one by one. */
const NATIVE = ["numpy", "torch", "onnxruntime-node"];

/** A Markdown table of a run of `core`, with the reasons of empty cells and the goals of its rows below. */
export function coreMarkdown(lines: readonly (Sample | Summary)[]): string {
  const samples = lines.filter((l): l is Sample => !("summary" in l));
  const libs = [...new Set(samples.map((s) => s.lib))];
  const ratio = (x: number | null | undefined): string => x?.toFixed(2) ?? "–";
  const rows = lines
    .filter((l): l is Summary => "summary" in l)
    .map((s) => {
      const timed = samples.filter((l) => l.row === s.row && l.median_ms !== null);
      const cell = (lib: string): string => {
        const found = timed.find((l) => l.lib === lib);
        if (!found) return "–";
        const middle = found.median_ms!.toPrecision(3);
        if (lib !== OURS || !found.q1_ms || !found.q3_ms) return middle;
        return `${middle} (${found.q1_ms.toPrecision(3)}–${found.q3_ms.toPrecision(3)})`;
      };
      const { ratios } = summarize(s.bench, s.row, s.threads, timed);
      return [s.row, ...libs.map(cell), ratio(s.ratio_best_js), ...NATIVE.map((lib) => ratio(ratios[lib]))];
    });
  const details = libs.map(
    (lib) => samples.find((s) => s.lib === lib && s.details)?.details ?? `${lib} absent`,
  );
  const reasons = new Set(
    samples.flatMap((s) => {
      if (s.absent) return [`${s.lib}: ${s.absent}`];
      if (s.cannot) return [`${s.lib}, ${s.row}: ${s.cannot}`];
      return s.fewer ? [`${s.lib}, ${s.row}: ${s.samples} samples, ${s.fewer}`] : [];
    }),
  );
  const machine = samples.find((s) => s.machine)?.machine ?? "unknown machine";
  const fewest = Math.min(...samples.filter((s) => s.samples > 0 && !s.fewer).map((s) => s.samples));
  return [
    `${machine}; ${samples[0]!.threads === 1 ? "one thread" : `${samples[0]!.threads} threads`}; at least ${fewest} samples, unless said below. ${[...new Set(details)].join("; ")}.`,
    markdownTable(["row", ...libs, "× best JS", ...NATIVE.map((lib) => `× ${lib}`)], rows),
    goalsMarkdown(samples),
    [...reasons].map((r) => `- ${r}`).join("\n"),
  ]
    .filter((part) => part !== "")
    .join("\n\n");
}

/** A Markdown table of a run of `memory`: one part for each loop. */
export function memoryMarkdown(lines: readonly (Point | Verdict)[]): string {
  const mebi = (bytes: number): string => (bytes / 2 ** 20).toFixed(2);
  return lines
    .filter((l): l is Verdict => "summary" in l)
    .map((v) => {
      const points = lines.filter((l): l is Point => !("summary" in l) && l.row === v.row);
      const rows = points.map((p) =>
        [
          p.step,
          p.loss.toFixed(3),
          ...[p.live_bytes, p.owned_bytes, p.arena_bytes, p.heap_bytes, p.rss_bytes].map(mebi),
        ].map(String),
      );
      return [
        `**${v.row}**: ${v.about}. ${v.machine}. Growth of live memory after step 10: ${(100 * v.growth).toFixed(2)} %.`,
        markdownTable(["step", "loss", "live MiB", "owned", "arena", "JS heap", "process"], rows),
      ].join("\n\n");
    })
    .join("\n\n");
}

/** Draws a run of `curves` beside its file, and shows it. */
async function curves(file: string, lines: readonly (CurvePoint | CurveSummary)[]): Promise<string> {
  const image = file.replace(/\.jsonl$/, ".svg");
  const isSummary = (l: CurvePoint | CurveSummary): l is CurveSummary => "summary" in l;
  const points = lines.filter((l): l is CurvePoint => !isSummary(l));
  await writeFile(`${folder}${image}`, drawCurves(points, lines.filter(isSummary)));
  return curvesMarkdown(lines, image);
}

/** Draws a run of `linalg` beside its file if it has several sizes, and shows it. */
async function linalg(file: string, lines: readonly (Sample | Summary)[]): Promise<string> {
  const sizes = new Set(lines.map(({ row }) => row.split("-")[1]));
  if (sizes.size < 2) return linalgMarkdown(lines);
  const image = file.replace(/\.jsonl$/, ".svg");
  await writeFile(`${folder}${image}`, drawLinalg(lines));
  return `![Time of decompositions against the size of the matrix](${image})\n\n${linalgMarkdown(lines)}`;
}

/** Draws the losses of a run of `finetune` beside its file, and shows it. */
async function finetune(file: string, lines: readonly FinetuneSample[]): Promise<string> {
  const image = file.replace(/\.jsonl$/, ".svg");
  await writeFile(`${folder}${image}`, drawFinetune(lines));
  return finetuneMarkdown(lines, image);
}

/** Draws losses and changes of weights of a run of `adapters` beside its file, and shows it. */
async function adapters(file: string, lines: readonly AdapterLine[]): Promise<string> {
  const image = (name: string): string => file.replace(/\.jsonl$/, `${name}.svg`);
  await writeFile(`${folder}${image("")}`, drawAdapters(linesOf(lines, "run")));
  await writeFile(`${folder}${image("-changes")}`, drawChanges(linesOf(lines, "change")));
  return adaptersMarkdown(lines, [image(""), image("-changes")]);
}

/** How the lines of each bench are shown; those of others are kept as they are. */
const SHOWN: Readonly<Record<string, (lines: readonly Line[], file: string) => string | Promise<string>>> = {
  "webgpu-main-job": (lines) => mainJobMarkdown(lines as MainJob[]),
  "native-main-job": (lines) => mainJobMarkdown(lines as MainJob[]),
  webgpu: (lines) => webgpuMarkdown(lines as (Sample | Summary)[]),
  core: (lines) => coreMarkdown(lines as (Sample | Summary)[]),
  linalg: (lines, file) => linalg(file, lines as (Sample | Summary)[]),
  "linalg-errors": (lines) => linalgErrorsMarkdown(lines as ErrorLine[]),
  memory: (lines) => memoryMarkdown(lines as (Point | Verdict)[]),
  overhead: (lines) => overheadMarkdown(lines as Overhead[]),
  dispatches: (lines) => dispatchesMarkdown(lines as DispatchCost[]),
  threads: (lines) => threadsMarkdown(lines as (ThreadCell | ThreadVerdict)[]),
  finetune: (lines, file) => finetune(file, lines as FinetuneSample[]),
  adapters: (lines, file) => adapters(file, lines as AdapterLine[]),
  estimates: (lines) => estimatesMarkdown(lines as EstimateSample[]),
  generate: (lines) => generateMarkdown(lines as GenerateSample[]),
  serving: (lines) => servingMarkdown(lines as ServingLine[]),
  attention: (lines) => attentionMarkdown(lines as AttentionLine[]),
  paired: (lines) => pairedMarkdown(lines as (PairedSample | PairedSummary)[]),
  curves: (lines, file) => curves(file, lines as (CurvePoint | CurveSummary)[]),
};

/** The command that prints such lines again. */
function commandFor(bench: string, lines: readonly Line[]): string {
  const threads = lines.find((l) => "threads" in l)?.threads ?? 1;
  const pair = lines.find((l): l is PairedSummary => "before" in l);
  const commits = pair
    ? ` --before ${pair.before} --after ${pair.after} --runs ${pair.pairs} --steps ${pair.steps}`
    : "";
  const libs = new Set(lines.flatMap((l) => ("lib" in l ? [l.lib] : [])));
  const some = (bench === "core" || bench === "linalg") && libs.size < librariesOf(bench).length;
  const which = some ? ` --libs ${[...libs].join(",")}` : "";
  return `pnpm --silent bench ${bench} --json${threads > 1 ? ` --threads ${threads}` : ""}${which}${commits}`;
}

/** How a file of `adapters` is made, part by part; what it has is not done again. */
const adaptersCommand = (path: string): string =>
  [
    `\`F=$PWD/${path}; pnpm --silent bench adapters --json --resume $F >> $F\``,
    "and the same with `--part tune --steps 16`, `--part time --samples 4` and `--part peft`",
  ].join(", ");

/** Writes results/README.md and the plots from the .jsonl files beside it. */
export async function writeResults(): Promise<string> {
  const files = (await readdir(folder)).filter((name) => name.endsWith(".jsonl")).sort();
  const parts = [INTRODUCTION];
  for (const file of files) {
    const text = await readFile(`${folder}${file}`, "utf8");
    const lines = text
      .split("\n")
      .filter((l) => l.startsWith("{"))
      .map((l) => JSON.parse(l) as Line);
    if (lines.length === 0) continue;
    const { bench } = lines[0]!;
    const show = SHOWN[bench];
    if (!show) continue;
    const body = await show(lines, file);
    // Runs that no bench prints say themselves how they were made.
    const origin = bench.endsWith("-main-job")
      ? []
      : bench === "adapters"
        ? [adaptersCommand(`benchmarks/results/${file}`)]
        : [`\`${commandFor(bench, lines)} > benchmarks/results/${file}\``];
    parts.push(`${[`## ${file}`, ...origin, body].join("\n\n")}\n`);
  }
  const path = `${folder}README.md`;
  await writeFile(path, parts.join("\n"));
  return path;
}
