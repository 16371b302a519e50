import { describe, expect, test } from "vitest";
import {
  buildGraph,
  checkGraph,
  describeProgram,
  groupInterpreter,
  randomGraph,
  reference,
} from "@lowrank/tensor/testing";

// LOWRANK_FUZZ=20000 runs more of them; LOWRANK_FUZZ_FROM=n begins at another seed.
const count = Number(process.env.LOWRANK_FUZZ ?? 400);
const from = Number(process.env.LOWRANK_FUZZ_FROM ?? 1);
const seeds = Array.from({ length: count }, (_, i) => from + i);

describe("random graphs", () => {
  test("are the same for a seed, use many ops, and cannot all be trivial", () => {
    expect(describeProgram(randomGraph(5))).toBe(describeProgram(randomGraph(5)));
    const programs = seeds.slice(0, 300).map((seed) => randomGraph(seed));
    const names = new Set(programs.flatMap((p) => p.steps.map((s) => s.text.split("(")[0])));
    expect(names.size).toBeGreaterThan(60);
    const kinds = new Set(programs.flatMap((p) => p.roots.map((r) => r.kind)));
    expect([...kinds].sort()).toEqual(["assign", "descend", "gradient", "value"]);
    expect(buildGraph(programs[0]!).length).toBeGreaterThan(0);
  });

  test("a wrong kernel is found, cut down to a few values and printed", async () => {
    const wrong = reference({ round: (x, op) => (op === "cumsum" ? x + 0.01 : x) });
    let message = "";
    for (let seed = 1; seed <= 300 && !message; seed++) {
      await checkGraph(wrong, seed).catch((error: Error) => {
        message = error.message;
      });
    }
    expect(message).toMatch(
      /v\d = cumsum\(v\d.*\n {2}asked for: v\d\n {2}v\d \(exact\): at \[.*expected .*, got /,
    );
    expect(message.split("\n").length).toBeLessThan(7);
  });

  test("a backend that gives what the reference gives passes", async () => {
    for (const seed of seeds.slice(0, 40)) await checkGraph(reference(), seed);
  });

  test("the scheduler's groups give what the reference gives", async () => {
    const backend = groupInterpreter();
    for (const seed of seeds) await checkGraph(backend, seed);
  });

  test("also with few bindings and short loops", async () => {
    const backend = groupInterpreter({ maxBindings: 5, maxInstructions: 6, layout: "any" });
    for (const seed of seeds.slice(0, count / 2)) await checkGraph(backend, seed);
  });
});
