import { parseArgs } from "node:util";
import { ATTENTION_ROWS, type AttentionLine, measureAttention } from "./attention.js";
import { KINDS, type KindName } from "./attention-models.js";
import { attentionMarkdown } from "./attention-results.js";
import { ADAPTER_PARTS, type AdapterLine, compareAdapters, readLines } from "./adapters.js";
import { ADAPTER_METHODS, type MethodName } from "./adapters-methods.js";
import { adaptersMarkdown } from "./adapters-results.js";
import { type CurvePoint, type CurveSummary, measureCurve } from "./curves.js";
import { SERIES, type SeriesName } from "./curve-series.js";
import { dispatchesMarkdown, measureDispatches } from "./dispatches.js";
import { librariesOf } from "./libraries.js";
import { measureErrors } from "./linalg-errors.js";
import { linalgErrorsMarkdown } from "./linalg-errors-results.js";
import { type Point, watchMemory } from "./memory.js";
import { measureOverhead } from "./overhead.js";
import { LOOPS, type LoopName } from "./memory-loops.js";
import { measurePairs, type PairedSample } from "./paired.js";
import { measureEstimates } from "./estimates.js";
import { estimatesMarkdown } from "./estimates-results.js";
import { measureGenerate, WRITERS } from "./generate.js";
import { generateMarkdown } from "./generate-results.js";
import { FINETUNE_ROWS, FINETUNERS, type FinetuneRow, measureFinetune } from "./finetune.js";
import { finetuneMarkdown } from "./finetune-results.js";
import { installPeers, PEERS } from "./peers.js";
import { race } from "./race.js";
import type { Sample, Summary } from "./result.js";
import { CORE_ROWS, chooseRows, LINALG_ROWS, WEBGPU_ROWS } from "./rows/index.js";
import { writeResults } from "./results.js";
import { measureServing, type ServingLine } from "./serving.js";
import { servingMarkdown } from "./serving-results.js";
import { coreTable, curveTable, memoryTable, overheadTable, pairedTable } from "./table.js";
import { THREAD_OPS } from "./thread-jobs.js";
import { raceOnGpu } from "./webgpu.js";
import { webgpuMarkdown } from "./webgpu-results.js";
import { sweepThreads, type ThreadCell, threadTable } from "./threads.js";

const HELP = `pnpm bench NAME [options]

  core      products, element-wise chains, rows and training steps, beside other libraries: see --libs
  webgpu    products, rows, attention and training steps on one GPU, beside other libraries, and what the GPU can do
  linalg    SVD, eigenvalues, QR, Cholesky and solving in f64 and f32, beside other libraries
  linalg-errors  errors of the same on four families of matrices of 256, in units of eps
  overhead  work of the host in a training step of the quick start, beside its kernels, and the memory of its plan
  dispatches work of the host for each dispatch of a plan of 500 on a GPU, beside Dawn's own
  curves    time of a training step as batch, length, width and depth double, with fitted slopes
  memory    live memory over 1,000 steps of a small network and 300 of the quick start
  threads   operations from one element to ten million on one thread and on several (--threads, 2 by default)
  finetune  LoRA on SmolLM2-135M: speed, memory and loss beside torch with PEFT; the models are in LOWRANK_TEST_MODELS
  paired    the quick start of two commits as whole processes, in turns; what is not committed is left out
  serving   8 adapters in one batch beside one, switching and swapping them, their memory, and texts made at once
  generate  prefill and decode of SmolLM2-135M in Q4_1 beside llama.cpp, native and in WebAssembly; LOWRANK_TEST_MODELS
  estimates what lowrank estimate predicts beside the same 24 runs as processes of their own
  attention small models of five kinds of attention trained alike: loss, bytes of the cache a token, time of a token
  adapters  every adapter on the quick start's model with one budget: time of a step, perplexity of three runs, error of merging
  results   writes benchmarks/results/README.md and its plots from the .jsonl files beside it

  --json         one JSON object a line
  --rows a,b     only these rows: names, or their beginnings with a *
  --libs a,b     only these libraries (core): ${librariesOf("core").join(", ")};
                 (webgpu): ${librariesOf("webgpu").join(", ")};
                 (linalg): ${librariesOf("linalg").join(", ")}
                 (attention), as kinds: ${Object.keys(KINDS).join(", ")}
  --transposed   products with transposed factors too (webgpu)
                 (finetune): ${FINETUNERS.join(", ")}
  --threads N    threads of each library             1; paired: all cores
  --samples N    turns of each library on each row (core, webgpu, linalg, adapters) 9
  --quick        3 turns and a short warm-up; a tenth of the steps; curves end at 100 ms
  --before REF   the commit to compare with (paired)
  --after REF    the other (paired)                                     HEAD
  --runs N       pairs of processes (paired), processes (finetune), seeds (attention)   5, 3, 3
  --steps N      training steps of each (paired, finetune, attention, adapters)   300, 20, 600, 40

  --part NAME    quality, time, peft or tune, which tries learning rates (adapters)    quality
  --rates a,b    learning rates for --part tune (adapters)              0.001,0.003,0.01,0.03,0.1
  --seeds N      runs of each method (adapters)                         3
  --resume FILE  lines of an earlier run: what it has is not done again (adapters)

BENCH_PYTHON names the Python that has numpy and torch (python3 by default).`;

const OVERHEAD_STEPS = 60;

function whole(name: string, text: string): number {
  const n = Number(text);
  if (!Number.isInteger(n) || n < 1)
    throw new Error(`bench: expected --${name} to be a whole number from 1, got "${text}"`);
  return n;
}

function chooseFrom<T extends string>(flag: string, all: readonly T[], asked: string | undefined): T[] {
  const names = asked?.split(",").map((name) => name.trim()) ?? all;
  const wrong = names.find((name) => !all.includes(name as T));
  if (wrong !== undefined)
    throw new Error(`bench: expected --${flag} among ${all.join(", ")}, got "${wrong}"`);
  return all.filter((name) => names.includes(name));
}

async function main(): Promise<void> {
  const { values: flags, positionals } = parseArgs({
    allowPositionals: true,
    options: {
      json: { type: "boolean", default: false },
      rows: { type: "string" },
      libs: { type: "string" },
      threads: { type: "string" },
      before: { type: "string" },
      after: { type: "string", default: "HEAD" },
      runs: { type: "string" },
      steps: { type: "string" },
      samples: { type: "string" },
      part: { type: "string", default: "quality" },
      rates: { type: "string" },
      seeds: { type: "string" },
      resume: { type: "string" },
      transposed: { type: "boolean", default: false },
      quick: { type: "boolean", default: false },
      help: { type: "boolean", default: false },
    },
  });
  const [name, ...rest] = positionals;
  if (flags.help || !name) return console.log(HELP);
  if (rest.length > 0) throw new Error(`bench: expected one name, got ${positionals.join(", ")}`);
  const threads = whole("threads", flags.threads ?? "1");
  const print = (line: object): void => {
    if (flags.json) console.log(JSON.stringify(line));
  };

  if (name === "core" || name === "linalg") {
    const libraries = chooseFrom("libs", librariesOf(name), flags.libs);
    installPeers(PEERS.filter((peer) => libraries.includes(peer)));
    const turns = whole("samples", flags.samples ?? (flags.quick ? "3" : "9"));
    const lines: (Sample | Summary)[] = [];
    for (const row of chooseRows(name === "core" ? CORE_ROWS : LINALG_ROWS, flags.rows, threads)) {
      if (!flags.json) console.error(`${row.name} ...`);
      const found = await race(row, {
        bench: name,
        libraries,
        threads,
        turns,
        turnMs: 30,
        warmUpMs: flags.quick ? 100 : 600,
        budgetMs: flags.quick ? 2000 : 12_000,
      });
      lines.push(...found);
      for (const line of found) print(line);
    }
    if (!flags.json) console.log(coreTable(lines));
  } else if (name === "linalg-errors") {
    const lines = await measureErrors({ onLine: print });
    if (!flags.json) console.log(linalgErrorsMarkdown(lines));
  } else if (name === "webgpu") {
    const asked = flags.rows === undefined ? [] : chooseRows(WEBGPU_ROWS, flags.rows);
    const rows = WEBGPU_ROWS.filter((row) => {
      if (row.spec.kind === "probe") return true; // shares of what the adapter can do need them
      if (flags.transposed && row.onlyNamed) return true;
      return flags.rows === undefined ? !row.onlyNamed : asked.includes(row);
    });
    const lines = await raceOnGpu({
      rows,
      libraries: [...chooseFrom("libs", librariesOf("webgpu"), flags.libs)],
      turns: whole("samples", flags.samples ?? (flags.quick ? "3" : "9")),
      quick: flags.quick,
      onRow: (row) => void (flags.json || console.error(`${row} ...`)),
      onLine: print,
    });
    if (!flags.json) console.log(webgpuMarkdown(lines));
  } else if (name === "dispatches") {
    const found = await measureDispatches(500, flags.quick ? 10 : 60);
    print(found);
    if (!flags.json) console.log(dispatchesMarkdown([found]));
  } else if (name === "memory") {
    let flat = true;
    for (const row of chooseFrom("rows", Object.keys(LOOPS) as LoopName[], flags.rows)) {
      const points: Point[] = [];
      const onPoint = (point: Point): void => {
        points.push(point);
        print(point);
      };
      const verdict = await watchMemory(row, { quick: flags.quick, threads, onPoint });
      print(verdict);
      if (!flags.json) console.log(memoryTable(points, verdict));
      flat &&= verdict.flat;
    }
    if (!flat) process.exitCode = 1;
  } else if (name === "overhead") {
    for (const row of chooseFrom(
      "rows",
      ["quickstart", "mlp"] satisfies LoopName[],
      flags.rows ?? "quickstart",
    )) {
      const found = await measureOverhead(row, { steps: flags.quick ? 10 : OVERHEAD_STEPS, threads });
      print(found);
      if (!flags.json) console.log(overheadTable(found));
    }
  } else if (name === "curves") {
    const lines: (CurvePoint | CurveSummary)[] = [];
    for (const row of chooseFrom("rows", Object.keys(SERIES) as SeriesName[], flags.rows)) {
      if (!flags.json) console.error(`${row} ...`);
      const limit = flags.quick ? { limitMs: 100 } : {};
      const { points, summary } = await measureCurve(row, { threads, onPoint: print, ...limit });
      print(summary);
      lines.push(...points, summary);
    }
    if (!flags.json) console.log(curveTable(lines));
  } else if (name === "threads") {
    const cells: ThreadCell[] = [];
    const verdict = await sweepThreads({
      rows: chooseFrom("rows", Object.keys(THREAD_OPS), flags.rows),
      threads: Math.max(2, threads),
      pairs: whole("samples", flags.samples ?? (flags.quick ? "5" : "15")),
      onCell: (cell) => {
        cells.push(cell);
        print(cell);
      },
    });
    print(verdict);
    if (!flags.json) console.log(threadTable(cells, verdict));
    if (verdict.slower > 0) process.exitCode = 1;
  } else if (name === "finetune") {
    const lines = await measureFinetune({
      rows: chooseFrom("rows", Object.keys(FINETUNE_ROWS) as FinetuneRow[], flags.rows),
      libraries: chooseFrom("libs", FINETUNERS, flags.libs),
      steps: whole("steps", flags.steps ?? (flags.quick ? "4" : "20")),
      runs: whole("runs", flags.runs ?? (flags.quick ? "1" : "3")),
      threads,
      models: process.env["LOWRANK_TEST_MODELS"] ?? "models",
      note: (text) => console.error(text),
    });
    for (const line of lines) print(line);
    if (!flags.json) console.log(finetuneMarkdown(lines));
  } else if (name === "paired") {
    if (flags.before === undefined) throw new Error("bench paired: expected --before with a commit");
    const samples: PairedSample[] = [];
    const summary = await measurePairs({
      before: flags.before,
      after: flags.after,
      pairs: whole("runs", flags.runs ?? "5"),
      steps: whole("steps", flags.steps ?? "300"),
      ...(flags.threads === undefined ? {} : { threads }),
      onSample: (sample) => {
        samples.push(sample);
        print(sample);
      },
      note: (text) => console.error(text),
    });
    print(summary);
    if (!flags.json) console.log(pairedTable(samples, summary));
  } else if (name === "adapters") {
    const lines: AdapterLine[] = flags.resume === undefined ? [] : await readLines(flags.resume);
    await compareAdapters({
      part: chooseFrom("part", ADAPTER_PARTS, flags.part)[0]!,
      rows: chooseFrom("rows", Object.keys(ADAPTER_METHODS) as MethodName[], flags.rows),
      seeds: whole("seeds", flags.seeds ?? (flags.quick ? "1" : "3")),
      steps: whole("steps", flags.steps ?? (flags.quick ? "3" : "40")),
      threads,
      samples: whole("samples", flags.samples ?? (flags.quick ? "3" : "9")),
      ...(flags.rates === undefined ? {} : { rates: flags.rates.split(",").map(Number) }),
      ...(flags.resume === undefined ? {} : { resume: flags.resume }),
      onLine: (line) => {
        lines.push(line);
        print(line);
      },
      note: (text) => console.error(text),
    });
    if (!flags.json) console.log(adaptersMarkdown(lines));
  } else if (name === "serving") {
    const lines: ServingLine[] = [];
    const turns = whole("samples", flags.samples ?? (flags.quick ? "3" : "15"));
    const onLine = (line: ServingLine): void => {
      lines.push(line);
      print(line);
    };
    await measureServing({ threads, turns, quick: flags.quick, onLine });
    if (!flags.json) console.log(servingMarkdown(lines));
  } else if (name === "generate") {
    const lines = measureGenerate({
      libraries: chooseFrom("libs", WRITERS, flags.libs),
      model: `${process.env["LOWRANK_TEST_MODELS"] ?? "models"}/SmolLM2-135M-Instruct.Q4_1.gguf`,
      threads,
      turns: whole("samples", flags.samples ?? (flags.quick ? "1" : "5")),
      onLine: print,
      note: (text) => console.error(text),
    });
    if (!flags.json) console.log(generateMarkdown(lines));
  } else if (name === "estimates") {
    const models = process.env["LOWRANK_TEST_MODELS"] ?? "models";
    const note = (text: string): void => console.error(text);
    const lines = await measureEstimates({ threads, models, onLine: print, note });
    if (!flags.json) console.log(estimatesMarkdown(lines));
  } else if (name === "attention") {
    const lines: AttentionLine[] = [];
    await measureAttention({
      rows: chooseFrom("rows", ATTENTION_ROWS, flags.rows),
      kinds: chooseFrom("libs", Object.keys(KINDS) as KindName[], flags.libs),
      seeds: whole("runs", flags.runs ?? (flags.quick ? "1" : "3")),
      steps: whole("steps", flags.steps ?? (flags.quick ? "60" : "600")),
      turns: whole("samples", flags.samples ?? (flags.quick ? "3" : "9")),
      threads,
      quick: flags.quick,
      onLine: (line) => {
        lines.push(line);
        print(line);
      },
    });
    if (!flags.json) console.log(attentionMarkdown(lines));
  } else if (name === "results") console.log(await writeResults());
  else
    throw new Error(
      `bench: expected core, webgpu, linalg, linalg-errors, overhead, curves, memory, threads, finetune, paired, serving, generate, estimates, attention, adapters or results, got "${name}"`,
    );
}

main().catch((error: unknown) => {
  console.error(error instanceof Error ? error.message : String(error));
  process.exitCode = 1;
});
