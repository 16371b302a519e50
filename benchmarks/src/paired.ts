import { execFile } from "node:child_process";
import { existsSync } from "node:fs";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { promisify } from "node:util";
import { errorIn } from "./contender-process.js";
import { machine } from "./result.js";
import { median, significant } from "./statistics.js";

const root = fileURLToPath(new URL("../../", import.meta.url));
const call = promisify(execFile);

type Side = "before" | "after";

/** One process of the quick start. */
export interface PairedSample {
  bench: "paired";
  row: "quickstart";
  side: Side;
  commit: string;
  /** Which pair it belongs to, from 1. */
  pair: number;
  steps: number;
  threads: number;
  /** The whole process: loading, scoring, writing, training, scoring again, saving. */
  wall_s: number;
  /** The training steps alone, by the program's own account. */
  training_s: number;
  perplexity_after: number;
}

export interface PairedSummary {
  bench: "paired";
  row: "quickstart";
  summary: true;
  before: string;
  after: string;
  pairs: number;
  steps: number;
  threads: number;
  /** Median before over median after: above 1, after is faster. */
  wall_ratio: number;
  training_ratio: number;
  /** The same of each pair, in order. */
  wall_ratios: number[];
  training_ratios: number[];
  wall_s: Record<Side, number>;
  training_s: Record<Side, number>;
  machine: string;
}

/** Ratios of medians, and of each pair. */
export function summarizePairs(samples: readonly PairedSample[]): PairedSummary {
  const of = (side: Side): PairedSample[] =>
    samples.filter((s) => s.side === side).sort((a, b) => a.pair - b.pair);
  const [before, after] = [of("before"), of("after")];
  if (before.length === 0 || before.length !== after.length)
    throw new Error(`bench paired: expected whole pairs, got ${before.length} and ${after.length} runs`);
  const medians = (time: "wall_s" | "training_s"): Record<Side, number> => ({
    before: significant(median(before.map((s) => s[time]))),
    after: significant(median(after.map((s) => s[time]))),
  });
  const each = (time: "wall_s" | "training_s"): number[] =>
    before.map((s, i) => significant(s[time] / after[i]![time]));
  const [wall, training] = [medians("wall_s"), medians("training_s")];
  return {
    bench: "paired",
    row: "quickstart",
    summary: true,
    before: before[0]!.commit,
    after: after[0]!.commit,
    pairs: before.length,
    steps: before[0]!.steps,
    threads: before[0]!.threads,
    wall_ratio: significant(wall.before / wall.after),
    training_ratio: significant(training.before / training.after),
    wall_ratios: each("wall_s"),
    training_ratios: each("training_s"),
    wall_s: wall,
    training_s: training,
    machine: machine(),
  };
}

/** The environment without what the package manager that started this process has put there. */
const cleanEnvironment = (): NodeJS.ProcessEnv =>
  Object.fromEntries(
    Object.entries(process.env).filter(([name]) => !/^(npm_|PNPM_|LOWRANK_|TSX_)/.test(name)),
  );

async function must(command: string, args: readonly string[], cwd: string): Promise<string> {
  try {
    const { stdout } = await call(command, args, { cwd, env: cleanEnvironment(), maxBuffer: 1 << 26 });
    return stdout;
  } catch (error) {
    const { stderr = "", message } = error as { stderr?: string; message: string };
    const first = [command, ...args].join(" ");
    throw new Error(`bench paired: ${first} in ${cwd} failed: ${errorIn(stderr) ?? message}`);
  }
}

/** A commit in a folder of its own, installed and built as `npm start` does it. */
async function checkOut(commit: string, folder: string): Promise<void> {
  await must("git", ["worktree", "add", "--detach", folder, commit], root);
  // Help is all that is asked for, so what is left of npm start is its preparation.
  await must(process.execPath, ["scripts/bootstrap.mjs", "start", "--help"], folder);
}

export interface PairedOptions {
  /** Git references; what is not committed is not measured. */
  before: string;
  after: string;
  pairs: number;
  /** Both train so many steps, however long it takes. */
  steps: number;
  /** Default: all cores. */
  threads?: number;
  onSample?: (sample: PairedSample) => void;
  /** Told what goes on. */
  note?: (text: string) => void;
}

/** Runs the quick start of two commits as whole processes in alternating order: AB, BA, AB, and so on. */
export async function measurePairs(options: PairedOptions): Promise<PairedSummary> {
  const { pairs, steps, threads, onSample, note } = options;
  const sides: readonly Side[] = ["before", "after"];
  const scratch = await mkdtemp(join(tmpdir(), "lowrank-paired-"));
  const commits = {} as Record<Side, string>;
  const samples: PairedSample[] = [];
  // Ctrl-C ends the running command, which is an error here; the folders are then taken away as after any other.
  const onInterrupt = (): void => note?.("stopped, clearing up");
  process.on("SIGINT", onInterrupt);
  try {
    for (const side of sides) {
      const hash = await must("git", ["rev-parse", "--verify", `${options[side]}^{commit}`], root);
      commits[side] = hash.trim();
      note?.(`${side}: installing and building ${commits[side].slice(0, 10)}`);
      await checkOut(commits[side], join(scratch, side));
    }
    for (let pair = 1; pair <= pairs; pair++) {
      for (const side of pair % 2 ? sides : [...sides].reverse()) {
        const { seconds, record } = await runQuickStart(join(scratch, side), scratch, steps, threads);
        const sample: PairedSample = {
          bench: "paired",
          row: "quickstart",
          side,
          commit: commits[side],
          pair,
          steps: record.steps,
          threads: record.threads,
          wall_s: significant(seconds, 5),
          training_s: significant(record.trainingSeconds, 5),
          perplexity_after: significant(record.perplexityAfter, 6),
        };
        if (sample.steps !== steps)
          throw new Error(`bench paired: expected ${steps} steps, got ${sample.steps}`);
        samples.push(sample);
        onSample?.(sample);
        note?.(`${side} ${pair}/${pairs}: ${sample.wall_s} s, training ${sample.training_s} s`);
      }
    }
    return summarizePairs(samples);
  } finally {
    process.off("SIGINT", onInterrupt);
    for (const side of sides) {
      await call("git", ["worktree", "remove", "--force", join(scratch, side)], { cwd: root }).catch(
        () => {},
      );
    }
    await rm(scratch, { recursive: true, force: true });
  }
}

interface QuickStartRecord {
  steps: number;
  threads: number;
  trainingSeconds: number;
  perplexityAfter: number;
}

async function runQuickStart(
  folder: string,
  scratch: string,
  steps: number,
  threads: number | undefined,
): Promise<{ seconds: number; record: QuickStartRecord }> {
  // The Node that npm start takes.
  const pinned = join(folder, "node_modules", ".bin", "node");
  const node = existsSync(pinned) ? pinned : process.execPath;
  const limits = ["--steps", String(steps), "--seconds", "1000000"]; // never ended by time
  const more = threads === undefined ? [] : ["--threads", String(threads)];
  const args = [
    "--import",
    "tsx",
    "src/main.ts",
    "--json",
    "--out",
    join(scratch, "output"),
    ...limits,
    ...more,
  ];
  const began = performance.now();
  const stdout = await must(node, args, join(folder, "examples", "quickstart"));
  const seconds = (performance.now() - began) / 1000;
  return { seconds, record: JSON.parse(stdout.trim().split("\n").at(-1)!) as QuickStartRecord };
}
