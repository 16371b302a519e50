import { spawn } from "node:child_process";
import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { ContenderProcess, environment, errorIn } from "./contender-process.js";
import { onnxGraph, whole } from "./contenders/onnx-rows.js";
import { filled, numbers } from "./inputs.js";
import { LIBRARIES, type Library } from "./libraries.js";
import type { Check, Counts } from "./protocol.js";
import type { Row, Spec } from "./rows/row.js";

/** Milliseconds of runs, and of all processors together, where the library is asked for that. */
export interface Times {
  ms: number[];
  cpu_ms?: number[];
}

/** A library in the race on one row. */
export interface Entrant {
  readonly lib: Library;
  readonly details: string;
  readonly threads: number;
  readonly adapter?: string | undefined;
  /** Milliseconds of its first run in a fresh process. */
  readonly first: number;
  /** Runs at least once, and on until `atLeastMs` are over or it has run `atMost` times; started `together` at a time (default: 1). */
  turn(atLeastMs: number, together?: number, atMost?: number): Promise<Times>;
  /** What it computed; null where that is nothing to compare. */
  check(): Promise<Check | null>;
  /** What one more run asks of a GPU, where it has one. */
  count?(): Promise<Counts | null>;
  stop(): Promise<void>;
}

export type Reason = { absent: string } | { cannot: string };

const MOST_RUNS_A_TURN = 50;

async function prepared(contender: ContenderProcess, spec: Spec): Promise<number | Reason> {
  const reply = await contender.ask({ prepare: spec });
  if ("first" in reply) return reply.first;
  await contender.stop();
  return { cannot: "cannot" in reply ? reply.cannot : "no answer" };
}

async function checked(contender: ContenderProcess): Promise<Check | null> {
  const reply = await contender.ask({ check: true });
  if (!("check" in reply)) throw new Error(`${contender.lib} failed: ${JSON.stringify(reply)}`);
  return reply.check;
}

/** One process, warmed up, that runs again and again. */
async function enterWarm(contender: ContenderProcess, spec: Spec): Promise<Entrant | Reason> {
  const first = await prepared(contender, spec);
  if (typeof first !== "number") return first;
  const { lib, details, threads, adapter } = contender;
  return {
    lib,
    details,
    threads,
    adapter,
    first,
    async turn(atLeastMs, together = 1, atMost = MOST_RUNS_A_TURN) {
      const reply = await contender.ask({ run: { atLeastMs, atMost, together } });
      if (!("ms" in reply)) throw new Error(`${lib} failed: ${JSON.stringify(reply)}`);
      return reply;
    },
    check: () => checked(contender),
    // Those without a GPU, some of them in Python, are not asked.
    ...(adapter !== undefined && {
      async count() {
        const reply = await contender.ask({ count: true });
        if (!("counts" in reply)) throw new Error(`${lib} failed: ${JSON.stringify(reply)}`);
        return reply.counts;
      },
    }),
    stop: () => contender.stop(),
  };
}

/** A new process for every run, of which the time of the first step counts, not that of the start. */
async function enterFresh(contender: ContenderProcess, spec: Spec): Promise<Entrant | Reason> {
  const { lib, details, threads } = contender;
  const first = await prepared(contender, spec);
  if (typeof first !== "number") return first;
  let latest = contender;
  return {
    lib,
    details,
    threads,
    first,
    async turn() {
      await latest.stop();
      const next = await ContenderProcess.start(lib, threads);
      if (typeof next === "string") throw new Error(`${lib} failed: ${next}`);
      latest = next;
      const ms = await prepared(next, spec);
      if (typeof ms !== "number") throw new Error(`${lib} failed: ${JSON.stringify(ms)}`);
      return { ms: [ms] };
    },
    check: () => checked(latest),
    stop: () => latest.stop(),
  };
}

interface Told {
  check: Check | null;
  details: string;
}

/** Runs a program of src/start until its first line, which ends its time; then waits for its end. */
async function startProgram(
  file: string,
  args: string[],
  lib: Library,
): Promise<{ ms: number; told: Told } | string> {
  const began = performance.now();
  const child = spawn(process.execPath, [file, ...args], { env: environment(lib, 1), stdio: "pipe" });
  let [output, errors, ms] = ["", "", 0];
  child.stdout.on("data", (data: Buffer) => {
    output += data.toString();
    if (!ms && output.includes("\n")) ms = performance.now() - began;
  });
  child.stderr.on("data", (data: Buffer) => {
    errors += data.toString();
  });
  await new Promise((resolve) => child.once("close", resolve));
  if (!ms) return errorIn(errors) ?? "its process ended at once";
  return { ms, told: JSON.parse(output.split("\n")[0]!) as Told };
}

/** A new process for every run, from before its start until its first product. */
async function enterStart(lib: Library): Promise<Entrant | Reason> {
  const { program } = LIBRARIES[lib];
  if (!program) return { cannot: "no library of JavaScript" };
  const file = fileURLToPath(new URL(`./start/${program}`, import.meta.url));
  const folder = await mkdtemp(join(tmpdir(), "bench-start-"));
  const stop = (): Promise<void> => rm(folder, { recursive: true, force: true });
  const args = [lib, join(folder, "a-b.f32"), join(folder, "model.onnx")];
  const [a, b] = [filled([64, 64], 1, 2), filled([64, 64], 2, 2)];
  await writeFile(args[1]!, Buffer.concat([a, b].map((f) => new Uint8Array(numbers(f).buffer))));
  const graph = onnxGraph({ kind: "matmul", a, b, transposeA: false, transposeB: false });
  if (typeof graph !== "string") await writeFile(args[2]!, whole(graph));
  const run = () => startProgram(file, args, lib);
  const first = await run();
  if (typeof first === "string") {
    await stop();
    return { absent: first };
  }
  return {
    lib,
    details: first.told.details,
    threads: 1,
    first: first.ms,
    async turn() {
      const again = await run();
      if (typeof again === "string") throw new Error(`${lib} failed: ${again}`);
      return { ms: [again.ms] };
    },
    check: async () => first.told.check,
    stop,
  };
}

/** The libraries of a row: their processes start side by side and are prepared one after another. */
export async function enterAll(
  libraries: readonly Library[],
  row: Row,
  threads: number,
): Promise<Map<Library, Entrant | Reason>> {
  const entered = new Map<Library, Entrant | Reason>();
  const { spec } = row;
  if (spec.kind === "start") {
    for (const lib of libraries) entered.set(lib, await enterStart(lib));
    return entered;
  }
  const started = await Promise.all(libraries.map((lib) => ContenderProcess.start(lib, threads)));
  for (const [i, contender] of started.entries()) {
    const entry =
      typeof contender === "string"
        ? { absent: contender }
        : await (row.fresh ? enterFresh : enterWarm)(contender, spec);
    entered.set(libraries[i]!, entry);
  }
  return entered;
}
