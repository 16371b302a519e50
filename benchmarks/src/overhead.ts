import { execFile } from "node:child_process";
import { fileURLToPath } from "node:url";
import { promisify } from "node:util";
import { errorIn } from "./contender-process.js";
import { LOOPS, type LoopName } from "./memory-loops.js";
import { machine } from "./result.js";
import { median, significant } from "./statistics.js";

/** Milliseconds of one training step, and of its parts. */
export interface StepTimes {
  /** The whole step, batch to updated parameters. */
  step_ms: number;
  /** Inside the kernels. All else is work of the host. */
  kernels_ms: number;
  /** Before the first evaluation begins: the batch, the graph of loss, gradients, clipping and update. */
  build_ms: number;
  /** The walk that numbers the graph and writes its key. */
  trace_ms: number;
  /** The look-up by the key. */
  find_ms: number;
  /** Making the groups and their memory, where there was no plan. */
  schedule_ms: number;
  /** Turning groups into commands, where there was no plan. */
  encode_ms: number;
  /** Addresses, scalars and inputs. */
  bind_ms: number;
  /** Handing over results. */
  keep_ms: number;
  /** Fused groups that ran. */
  groups: number;
}

/** Memory of the largest plan. */
export interface PlanMemory {
  /** Temporaries, as they are laid out. */
  arena_bytes: number;
  /** The largest sum of temporaries alive at once: no layout is smaller. */
  alive_bytes: number;
  /** The arena with what kernels need for themselves, such as packed operands. */
  with_workspace_bytes: number;
}

export interface Overhead {
  bench: "overhead";
  row: string;
  threads: number;
  about: string;
  /** Steps after the first; their medians follow. */
  steps: number;
  step: StepTimes;
  /** step_ms − kernels_ms. */
  host_ms: number;
  /** Of each step its host time over the whole; the median. */
  host_share: number;
  /** The first step makes the plan. */
  first: StepTimes;
  first_host_ms: number;
  plan: PlanMemory;
  /** arena_bytes / alive_bytes. */
  plan_ratio: number;
  /** Tensors held, the arena, and the highest sum of both after the first step. */
  owned_bytes: number;
  held_arena_bytes: number;
  peak_bytes: number;
  machine: string;
}

interface Report extends Pick<Overhead, "plan" | "owned_bytes" | "held_arena_bytes" | "peak_bytes"> {
  times: StepTimes[];
}

/** The result of a run of steps, the first of them kept apart. */
export function summarizeSteps(row: LoopName, threads: number, report: Report): Overhead {
  const [first, ...later] = report.times;
  if (!first || later.length === 0) throw new Error(`bench overhead: ${row} ended before a second step`);
  const names = Object.keys(first) as (keyof StepTimes)[];
  const middle = (of: (t: StepTimes) => number): number => significant(median(later.map(of)));
  const host = (t: StepTimes): number => t.step_ms - t.kernels_ms;
  const { times: _, ...memory } = report;
  return {
    bench: "overhead",
    row,
    threads,
    about: LOOPS[row].about,
    steps: later.length,
    step: Object.fromEntries(names.map((name) => [name, middle((t) => t[name])])) as unknown as StepTimes,
    host_ms: middle(host),
    host_share: middle((t) => host(t) / t.step_ms),
    first: Object.fromEntries(names.map((n) => [n, significant(first[n])])) as unknown as StepTimes,
    first_host_ms: significant(host(first)),
    plan_ratio: significant(report.plan.arena_bytes / report.plan.alive_bytes),
    ...memory,
    machine: machine(),
  };
}

/** Runs a training loop in a process of its own with every kernel timed. */
export async function measureOverhead(
  row: LoopName,
  { steps, threads }: { steps: number; threads: number },
): Promise<Overhead> {
  const script = fileURLToPath(new URL("./overhead-process.ts", import.meta.url));
  const args = ["--import", "tsx", script, row, String(steps), String(threads)];
  const cwd = fileURLToPath(new URL("../", import.meta.url));
  try {
    const { stdout } = await promisify(execFile)(process.execPath, args, { cwd, maxBuffer: 1 << 26 });
    return summarizeSteps(row, threads, JSON.parse(stdout) as Report);
  } catch (error) {
    const { stderr } = error as { stderr?: string };
    throw stderr ? new Error(`bench overhead: ${row} failed: ${errorIn(stderr)}`) : error;
  }
}
