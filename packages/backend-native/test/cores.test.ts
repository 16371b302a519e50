// On Linux threads are kept off the core of the one that wakes them, where there are cores enough.
import { readdirSync, readFileSync } from "node:fs";
import { availableParallelism } from "node:os";
import { evaluate, key, matmul, normal, setDefaultBackend } from "@lowrank/tensor";
import { describe, expect, test } from "vitest";
import { blas, noBlas } from "./blas.js";

const cores = availableParallelism();

/** The cores that each thread of this process may use, as Linux lists them; "" for one that has just ended. */
const allowed = (): Map<string, string> =>
  new Map(
    readdirSync("/proc/self/task").map((thread) => {
      try {
        const status = readFileSync(`/proc/self/task/${thread}/status`, "utf8");
        return [thread, /Cpus_allowed_list:\s+(.*)/.exec(status)![1]!];
      } catch {
        return [thread, ""];
      }
    }),
  );

const count = (list: string): number =>
  list.split(",").reduce((sum, range) => {
    const [first, last = first] = range.split("-").map(Number);
    return sum + last! - first! + 1;
  }, 0);

/** Threads of a new backend that have fewer cores than the process once products have run, and how many less. */
async function keptOff(threads: number): Promise<number[]> {
  const backend = await blas({ threads });
  setDefaultBackend(backend);
  const all = allowed().get(String(process.pid))!;
  const a = normal([512, 512], { key: key(1) });
  await evaluate(a);
  const less = () =>
    [...allowed().values()].filter((list) => list && list !== all).map((list) => count(all) - count(list));
  // Until the threads are up; if none is kept off, until they surely are.
  for (
    const until = Date.now() + (threads > cores ? 1000 : 10_000);
    less().length < threads - 1 && Date.now() < until;
  ) {
    for (let i = 0; i < 5; i++) await evaluate(matmul(a, a));
    await new Promise((done) => setTimeout(done, 20));
  }
  const found = less();
  expect(allowed().get(String(process.pid))).toBe(all); // the caller keeps its own
  backend.dispose();
  return found;
}

describe.skipIf(noBlas || process.platform !== "linux" || cores < 2)("threads on Linux", () => {
  test("those that join keep off the core of the caller", async () => {
    expect(await keptOff(2)).toEqual([1]);
  });

  test("they use every core if there are more threads than cores", async () => {
    expect(await keptOff(cores + 1)).toEqual([]);
  });
});
