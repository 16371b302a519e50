import { disagreement } from "./check.js";
import { type Entrant, enterAll, type Times } from "./entrant.js";
import { type Library, takesPart } from "./libraries.js";
import type { Check, Counts } from "./protocol.js";
import { machine, type Sample, type Summary } from "./result.js";
import type { Row } from "./rows/row.js";
import { median, quantile, significant, summarize } from "./statistics.js";

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
  /** A library that has run for so long on a row takes no further turns once it has had the fewest. */
  budgetMs: number;
  /** Default: 3. */
  fewest?: number;
  /** Whether a first run that fills the budget by itself is a sample. On a GPU it is not: it compiles. Default: true. */
  firstCounts?: boolean;
  /**
   * Runs that are shorter are started several at a time, as many in all libraries, to fill so many milliseconds: what a
   * GPU does is timed then, and not how soon the host hears of it. Default: 0, one at a time.
   */
  fillMs?: number;
}

const MOST_TOGETHER = 16;
/** Engines optimise what has run some thousand times: a short row is warm by its time, not by the runs of one turn. */
const MOST_TO_WARM_UP = 100_000;

/**
 * Between two turns on several threads. Those of OpenBLAS go round idle for 2²⁶ ticks, some 30 ms, before they sleep, and
 * would take a core from whoever comes next.
 */
const REST_MS = 60;
const rest = (threads: number): Promise<void> =>
  threads === 1 ? Promise.resolve() : new Promise((resolve) => setTimeout(resolve, REST_MS));

/** Native libraries are the measure of what is right, where they are there. */
const REFERENCES: readonly Library[] = ["torch", "numpy"];

function expectAgreement(row: Row, checks: ReadonlyMap<Library, Check>): void {
  const reference = REFERENCES.find((lib) => checks.has(lib)) ?? [...checks.keys()][0]!;
  for (const [lib, check] of checks) {
    const found = disagreement(check, checks.get(reference)!, row.tolerance);
    if (found) throw new Error(`${lib} and ${reference} do not compute the same: ${found}`);
  }
}

export function expectOneAdapter(entrants: readonly Pick<Entrant, "lib" | "adapter">[]): void {
  const names = new Map(entrants.flatMap(({ lib, adapter }) => (adapter ? [[adapter, lib]] : [])));
  if (names.size > 1) {
    const each = [...names].map(([adapter, lib]) => `${lib} on "${adapter}"`).join(", ");
    throw new Error(`expected one adapter for all libraries, got ${each}`);
  }
}

const sum = (values: readonly number[]): number => values.reduce((a, b) => a + b, 0);

interface Turns {
  times: Map<Entrant, Required<Times>>;
  together: number;
}

/** The times of each entrant. They take turns in alternating order, so that what the machine does besides hits all alike. */
async function takeTurns(
  entrants: readonly Entrant[],
  { threads, turns, turnMs, warmUpMs, budgetMs, fewest = 3, firstCounts = true, fillMs = 0 }: RaceOptions,
  fresh: boolean,
): Promise<Turns> {
  // A first run that fills the budget by itself has warmed up the engine, and is the first sample.
  const slow = (e: Entrant): boolean => firstCounts && e.first > budgetMs;
  let fastest = Number.POSITIVE_INFINITY;
  if (!fresh)
    for (const e of entrants)
      if (!slow(e)) fastest = Math.min(fastest, median((await e.turn(warmUpMs, 1, MOST_TO_WARM_UP)).ms));
  const together = Math.min(MOST_TOGETHER, Math.max(1, Math.ceil(fillMs / fastest)));
  const times = new Map(
    entrants.map((e) => [e, { ms: !fresh && slow(e) ? [e.first] : [], cpu_ms: [] as number[] }]),
  );
  for (let turn = 0; turn < turns; turn++) {
    for (const e of turn % 2 ? [...entrants].reverse() : entrants) {
      const all = times.get(e)!;
      if (all.ms.length >= fewest && sum(all.ms) * together > budgetMs) continue;
      await rest(threads);
      const { ms, cpu_ms = [] } = await e.turn(turnMs, together);
      all.ms.push(...ms);
      all.cpu_ms.push(...cpu_ms);
    }
  }
  return { times, together };
}

/**
 * Times one row in all libraries, each in a process of its own. The results are held against each other after the last
 * timed run.
 */
export async function race(row: Row, options: RaceOptions): Promise<[...Sample[], Summary]> {
  const { bench, threads, turns, budgetMs } = options;
  const libraries = options.libraries.filter((lib) => takesPart(lib, row.spec.kind, threads));
  const samples = new Map<Library, Sample>();
  const entrants: Entrant[] = [];
  try {
    for (const [lib, entry] of await enterAll(libraries, row, threads)) {
      if ("first" in entry) entrants.push(entry);
      else {
        const none = { median_ms: null, best_ms: null, q1_ms: null, q3_ms: null, samples: 0 };
        samples.set(lib, { bench, row: row.name, lib, threads, ...none, ...entry });
      }
    }
    const { times, together } = await takeTurns(
      entrants,
      options,
      row.fresh === true || row.spec.kind === "start",
    );
    const checks = new Map<Library, Check>();
    for (const e of entrants) {
      const check = await e.check();
      if (check) checks.set(e.lib, check);
    }
    if (checks.size > 0) expectAgreement(row, checks);
    expectOneAdapter(entrants);
    const counts = new Map<Entrant, Counts | null>();
    for (const e of entrants) counts.set(e, (await e.count?.()) ?? null);
    for (const [e, { ms, cpu_ms }] of times) {
      samples.set(e.lib, {
        bench,
        row: row.name,
        lib: e.lib,
        threads,
        median_ms: significant(median(ms), 5),
        best_ms: significant(Math.min(...ms), 5),
        q1_ms: significant(quantile(ms, 0.25), 5),
        q3_ms: significant(quantile(ms, 0.75), 5),
        ...(cpu_ms.length > 0 ? { cpu_ms: significant(median(cpu_ms), 5) } : {}),
        samples: ms.length,
        ...(together > 1 ? { together } : {}),
        first_ms: significant(e.first, 5),
        ...(ms.length < turns
          ? { fewer: `its runs filled the ${budgetMs / 1000} s of a library on a row` }
          : {}),
        ...(e.threads === threads ? {} : { threads_used: e.threads }),
        details: e.details,
        ...(e.adapter === undefined ? {} : { adapter: e.adapter }),
        ...(counts.get(e) ? { counts: counts.get(e)! } : {}),
        machine: machine(),
      });
    }
  } catch (error) {
    throw new Error(`${row.name}: ${error instanceof Error ? error.message : String(error)}`, {
      cause: error,
    });
  } finally {
    await Promise.all(entrants.map((e) => e.stop()));
  }
  const lines = libraries.map((lib) => samples.get(lib)!);
  return [...lines, summarize(bench, row.name, threads, lines)];
}
