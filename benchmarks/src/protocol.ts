import { createInterface } from "node:readline";
import type { ProbeSpec } from "./rows/probe.js";
import type { Spec } from "./rows/row.js";

/** Parts of a result by name, by which contenders are held against each other. */
export type Check = Record<string, number[]>;

/** What a run asks of a GPU's device. */
export type Counts = Record<
  "dispatches" | "passes" | "submits" | "bind_groups" | "buffers" | "writes" | "reads",
  number
>;

/** One thing to be timed, with its inputs in place. */
export interface Job {
  /** Does it once, to the end: when it returns, results exist and one number of them has been read. */
  run(): void | Promise<void>;
  /** Its processor time is told too: it works on the thread that runs it, which a busy machine slows down. */
  cpu?: true;
  /** How many times a run does it, where that is more than once: its time is divided by this. */
  per?: number;
  /** Looks at the whole result, of the last run or of one more; null where there is none to be compared. */
  check(): Check | null | Promise<Check | null>;
}

type JobsOf<S extends Spec> = {
  [K in S["kind"]]: (spec: Extract<S, { kind: K }>) => Job | string | Promise<Job | string>;
};

/** How a library does each kind of row; text in place of a job says why it cannot. */
export type Jobs = JobsOf<Exclude<Spec, ProbeSpec>>;
/** What is asked of an adapter and of no library. */
type ProbeJobs = JobsOf<ProbeSpec>;

/** A library under test. It lives in a process of its own. */
export interface Contender {
  lib: string;
  /** Version and what it runs on: kept with the results. */
  details: string;
  /** Threads that it really uses. */
  threads: number;
  /** The GPU that it runs on. */
  adapter?: string;
  /** Counts what a run asks of the GPU. */
  count?: (run: () => Promise<void>) => Promise<Counts>;
  /** Kinds of rows that are missing are none of its own. */
  jobs: Partial<Jobs & ProbeJobs>;
}

export type Request =
  | { prepare: Spec }
  /** With `together`, so many runs are started before any is awaited, and the time is that of one on average. */
  | { run: { atLeastMs: number; atMost: number; together?: number } }
  | { check: true }
  | { count: true };
export type Reply =
  | { hello: string; details: string; threads: number; adapter?: string }
  /** Milliseconds of the first run, with all that is built once. */
  | { first: number }
  | { cannot: string }
  /** Milliseconds of each run, and where the contender tells it how long processors worked for it. */
  | { ms: number[]; cpu_ms?: number[] }
  | { check: Check | null }
  | { counts: Counts | null };

const firstLine = (error: unknown): string =>
  (error instanceof Error ? error.message : String(error)).split("\n")[0]!;

async function answer(contender: Contender, state: { job: Job | null }, request: Request): Promise<Reply> {
  if ("prepare" in request) {
    const make = contender.jobs[request.prepare.kind] as
      | ((spec: Spec) => Job | string | Promise<Job | string>)
      | undefined;
    const job = (await make?.(request.prepare)) ?? `it has no rows of the kind ${request.prepare.kind}`;
    if (typeof job === "string") return { cannot: job };
    const began = performance.now();
    await job.run(); // what cannot be done fails here
    state.job = job;
    return { first: (performance.now() - began) / (job.per ?? 1) };
  }
  const { job } = state;
  if (!job) throw new Error("nothing is prepared");
  if ("check" in request) return { check: await job.check() };
  if ("count" in request) return { counts: (await contender.count?.(async () => job.run())) ?? null };
  const { atLeastMs, atMost, together = 1 } = request.run;
  const times = together * (job.per ?? 1);
  const [ms, cpu_ms]: [number[], number[]] = [[], []];
  const start = performance.now();
  do {
    const [before, began] = [process.cpuUsage(), performance.now()];
    await (together === 1 ? job.run() : Promise.all(Array.from({ length: together }, () => job.run())));
    ms.push((performance.now() - began) / times);
    const { user, system } = process.cpuUsage(before);
    cpu_ms.push((user + system) / 1000 / times);
  } while (ms.length < atMost && performance.now() - start < atLeastMs);
  return contender.adapter === undefined && !job.cpu ? { ms } : { ms, cpu_ms };
}

/** Answers requests on standard input until it is closed, one JSON object a line. */
export async function serve(contender: Contender): Promise<void> {
  const reply = (r: Reply): void => void process.stdout.write(`${JSON.stringify(r)}\n`);
  const { lib, details, threads, adapter } = contender;
  reply({ hello: lib, details, threads, ...(adapter === undefined ? {} : { adapter }) });
  const state: { job: Job | null } = { job: null };
  for await (const line of createInterface({ input: process.stdin })) {
    try {
      reply(await answer(contender, state, JSON.parse(line) as Request));
    } catch (error) {
      reply({ cannot: firstLine(error) });
    }
  }
  process.exit(0);
}
