import { expect } from "vitest";
import { randomNumbers } from "./random.js";

/** Inputs that each parser is tried on. Fewer where branches are counted, which takes long. */
const MUTANTS = Number(process.env["LOWRANK_MUTANTS"] ?? 10_000);

/** Codes of the errors that a parser may refuse with. */
const REFUSALS = /^LOWRANK_(?:FORMAT|CONFIG|DTYPE|SHAPE)$/;

interface Trial<T> {
  seed: number;
  /** How many distinct rules must have refused an input: see {@link ruleOf}. */
  leastRules: number;
  /** An input, bent or not; its bytes count for the memory that a refusal may take. */
  make(random: () => number): { input: T; sizeBytes: number };
  /** Parses and, where it is accepted, checks that it writes back to what it was. */
  parse(input: T): Promise<unknown>;
}

/**
 * Tries a parser on many inputs. A refusal is an error of ours with its code; anything else thrown is a crash and fails.
 * No input may take a second of the processor. Memory is held against twice the input plus 16 MiB after each: an allocation of a size that
 * a file merely states would stand out, and garbage of the inputs before does not. An accepted input counts as such only if `parse` has seen it written back.
 */
export async function runMutants<T>({ seed, leastRules, make, parse }: Trial<T>): Promise<void> {
  const random = randomNumbers(seed);
  let accepted = 0;
  let slowestMs = 0;
  const rules = new Set<string>();
  for (let i = 0; i < MUTANTS; i++) {
    const { input, sizeBytes } = make(random);
    const before = process.memoryUsage().arrayBuffers;
    const started = process.cpuUsage();
    try {
      await parse(input);
      accepted++;
    } catch (error) {
      const { code, expected } = error as { code?: string; expected?: string };
      if (!REFUSALS.test(code ?? "") || expected === undefined) {
        throw new Error(`mutant ${i} of seed ${seed}: ${describe(input)}`, { cause: error });
      }
      rules.add(ruleOf(expected));
    }
    // Of this process, so that a busy machine makes no input slow.
    const { user, system } = process.cpuUsage(started);
    slowestMs = Math.max(slowestMs, (user + system) / 1000);
    const grown = process.memoryUsage().arrayBuffers - before;
    expect(grown, `memory of mutant ${i}: ${describe(input)}`).toBeLessThan(2 * sizeBytes + (16 << 20));
  }
  expect(slowestMs).toBeLessThan(1000);
  // Both roads are walked, and the parser is reached in many places.
  expect(accepted / MUTANTS).toBeGreaterThan(0.2);
  expect(accepted / MUTANTS).toBeLessThan(0.8);
  expect(rules.size).toBeGreaterThanOrEqual(MUTANTS < 10_000 ? 1 : leastRules);
}

/** What was expected, with names and numbers left out. */
const ruleOf = (expected: string): string => expected.replace(/"[^"]*"|\d+/g, "_");

const describe = (input: unknown): string => {
  const show = (_key: string, value: unknown): unknown =>
    value instanceof Uint8Array
      ? new TextDecoder().decode(value.subarray(0, 2000))
      : value instanceof Map
        ? Object.fromEntries(value)
        : value;
  return JSON.stringify(input instanceof Uint8Array ? show("", input) : input, show)?.slice(0, 4000) ?? "";
};
