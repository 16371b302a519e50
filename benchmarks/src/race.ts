import { disagreement } from "./check.js";
import { ContenderProcess, type Library } from "./contender-process.js";
import type { Check } from "./protocol.js";
import { machine, type Sample, type Summary } from "./result.js";
import type { Row } from "./rows/row.js";
import { median, significant, summarize } from "./statistics.js";

export interface RaceOptions {
  bench: string;
  libraries: readonly Library[];
  threads: number;
  /** Turns of each library; in a turn it runs at least once. */
  turns: number;
  /** A turn of short runs is filled with more of them up to this time. */
  turnMs: number;
  /** How long each library runs before it is timed: engines optimise meanwhile. */
  warmUpMs: number;
}

/** Native libraries are the measure of what is right, where they are there. */
const REFERENCES: readonly Library[] = ["torch", "numpy"];

function expectAgreement(row: Row, checks: ReadonlyMap<Library, Check>): void {
  const reference = REFERENCES.find((lib) => checks.has(lib)) ?? [...checks.keys()][0]!;
  for (const [lib, check] of checks) {
    const found = disagreement(check, checks.get(reference)!, row.tolerance);
    if (found) throw new Error(`${row.name}: ${lib} and ${reference} do not compute the same: ${found}`);
  }
}

/**
 * Times one row in all libraries. Each has a process of its own; they take turns, in alternating order, so that what
 * the machine does besides hits all alike. The results are held against each other after the last timed run.
 */
export async function race(row: Row, options: RaceOptions): Promise<[...Sample[], Summary]> {
  const { bench, libraries, threads, turns, turnMs, warmUpMs } = options;
  const samples = new Map<Library, Sample>();
  const running: ContenderProcess[] = [];
  const first = new Map<Library, number>();
  const untimed = (lib: Library, reason: { absent: string } | { cannot: string }): void =>
    void samples.set(lib, {
      bench,
      row: row.name,
      lib,
      threads,
      median_ms: null,
      best_ms: null,
      samples: 0,
      ...reason,
    });

  try {
    for (const lib of libraries) {
      const contender = await ContenderProcess.start(lib, threads);
      if (typeof contender === "string") {
        untimed(lib, { absent: contender });
        continue;
      }
      running.push(contender);
      const reply = await contender.ask({ prepare: row.spec });
      if ("first" in reply) {
        first.set(lib, reply.first);
        continue;
      }
      untimed(lib, { cannot: "cannot" in reply ? reply.cannot : "no answer" });
      running.pop();
      await contender.stop();
    }
    const timed = async (c: ContenderProcess, atLeastMs: number, atMost: number): Promise<number[]> => {
      const reply = await c.ask({ run: { atLeastMs, atMost } });
      if (!("ms" in reply)) throw new Error(`${row.name}: ${c.lib} failed: ${JSON.stringify(reply)}`);
      return reply.ms;
    };
    for (const c of running) await timed(c, warmUpMs, 1e6);
    const times = new Map<ContenderProcess, number[]>(running.map((c) => [c, []]));
    for (let turn = 0; turn < turns; turn++) {
      for (const c of turn % 2 ? [...running].reverse() : running)
        times.get(c)!.push(...(await timed(c, turnMs, 50)));
    }
    const checks = new Map<Library, Check>();
    for (const c of running) {
      const reply = await c.ask({ check: true });
      if (!("check" in reply)) throw new Error(`${row.name}: ${c.lib} failed: ${JSON.stringify(reply)}`);
      checks.set(c.lib, reply.check);
    }
    if (checks.size > 0) expectAgreement(row, checks);
    for (const [c, ms] of times) {
      samples.set(c.lib, {
        bench,
        row: row.name,
        lib: c.lib,
        threads,
        median_ms: significant(median(ms), 5),
        best_ms: significant(Math.min(...ms), 5),
        samples: ms.length,
        first_ms: significant(first.get(c.lib)!, 5),
        ...(c.threads === threads ? {} : { threads_used: c.threads }),
        details: c.details,
        machine: machine(),
      });
    }
  } finally {
    await Promise.all(running.map((c) => c.stop()));
  }
  const lines = libraries.map((lib) => samples.get(lib)!);
  return [...lines, summarize(bench, row.name, threads, lines)];
}
