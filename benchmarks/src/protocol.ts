import { createInterface } from "node:readline";

/** One thing to be timed, with its inputs in place. */
export interface Job {
  /** Does it once, to the end: when it returns, results exist. */
  run(): void | Promise<void>;
  /** A few numbers of the result, by which contenders are held against each other. */
  check(): number[] | Promise<number[]>;
}

/** A library under test. It lives in a process of its own. */
export interface Contender {
  lib: string;
  /** Version, build, backend: kept with the results. */
  details: string;
  /** The row's job, or why this library cannot do it. */
  prepare(row: string): Job | string | Promise<Job | string>;
}

export type Request = { prepare: string } | { run: number };
export type Reply =
  | { hello: string; details: string }
  | { ready: number[] }
  | { cannot: string }
  /** Milliseconds of each run. */
  | { ms: number[] };

/** Answers requests on standard input, one JSON a line. */
export async function serve(contender: Contender): Promise<void> {
  const reply = (r: Reply): void => void process.stdout.write(`${JSON.stringify(r)}\n`);
  let job: Job | null = null;
  reply({ hello: contender.lib, details: contender.details });
  for await (const line of createInterface({ input: process.stdin })) {
    const request = JSON.parse(line) as Request;
    try {
      if ("prepare" in request) {
        const prepared = await contender.prepare(request.prepare);
        if (typeof prepared === "string") {
          reply({ cannot: prepared });
          continue;
        }
        job = prepared;
        const check = await job.check();
        reply({ ready: check });
      } else {
        const ms: number[] = [];
        for (let i = 0; i < request.run; i++) {
          const began = performance.now();
          await job!.run();
          ms.push(performance.now() - began);
        }
        reply({ ms });
      }
    } catch (error) {
      reply({ cannot: error instanceof Error ? error.message.split("\n")[0]! : String(error) });
    }
  }
  process.exit(0);
}
