import { existsSync, readFileSync } from "node:fs";
import { ConfigError } from "@lowrank/tensor";
import type { Output } from "../output.js";

/** Settings that make a run what it is, and those that may change on the way at the price of an exact repetition. */
const FIXED = [
  "dataSha256",
  "rank",
  "alpha",
  "dropout",
  "rslora",
  "targets",
  "batch",
  "length",
  "dtype",
  "eval-share",
];
const CHANGEABLE = ["steps", "epochs", "lr", "schedule", "warmup", "weight-decay"];

/** The settings of the last start of a run, from its log; null if it has none. */
export function lastSettings(path: string): Readonly<Record<string, unknown>> | null {
  if (!existsSync(path)) return null;
  const lines = readFileSync(path, "utf8").split("\n");
  for (const line of lines.filter((l) => l.includes('"type":"settings"')).reverse()) {
    try {
      return JSON.parse(line) as Readonly<Record<string, unknown>>;
    } catch {
      // the last line of a killed run may not be whole
    }
  }
  return null;
}

/**
 * Compares the settings of a run that goes on with those that it had before.
 *
 * @throws ConfigError if it would be another run; a change that only breaks the exact repetition is a warning.
 */
export function compareSettings(
  where: string,
  before: Readonly<Record<string, unknown>> | null,
  now: Readonly<Record<string, unknown>>,
  output: Output,
): void {
  if (before === null) return;
  const differ = (name: string): boolean => JSON.stringify(before[name]) !== JSON.stringify(now[name]);
  const told = (value: unknown): string => (value === undefined ? "its default" : JSON.stringify(value));
  const fixed = FIXED.find(differ);
  if (fixed !== undefined) {
    throw new ConfigError({
      where: `resume in ${where}`,
      expected:
        fixed === "dataSha256"
          ? "the data that the run began with"
          : `--${fixed} as the run began, ${told(before[fixed])}`,
      got: fixed === "dataSha256" ? "other texts" : told(now[fixed]),
      hint: "resume with the settings of that run, or begin another in a new folder",
    });
  }
  for (const name of CHANGEABLE.filter(differ)) {
    output.warn(
      `--${name} was ${told(before[name])} and is now ${told(now[name])}: the result will not be that of one unbroken run`,
    );
  }
}
