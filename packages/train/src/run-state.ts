import { ConfigError } from "@lowrank/tensor";
import type { DataPosition } from "./data.js";

/** What a run remembers beside weights and optimizer, as JSON. */
export interface RunState {
  /** Optimizer steps done. */
  step: number;
  position: DataPosition;
  /** Tokens trained on. */
  tokens: number;
  /** Lowest held-out loss so far, and the evaluations since. */
  bestLoss: number | null;
  evaluationsSinceBest: number;
  /** Step after which the last evaluation came, 0 if none did. */
  evaluatedStep: number;
  /** What must be the same for a run to go on: seed, data and the like, compared on resume. */
  settings: Readonly<Record<string, string | number | boolean>>;
}

/** A run's state as it is in a checkpoint, with the updates that the optimizer has done. */
export type SavedState = RunState & { optimizerStep: number };

/**
 * Reads `state.json`.
 *
 * @throws ConfigError naming the member that is missing or of another kind.
 */
export function parseRunState(text: string, where: string): SavedState {
  const refuse = (expected: string, got: unknown): never => {
    throw new ConfigError({ where, expected, got: JSON.stringify(got)?.slice(0, 80) ?? "nothing" });
  };
  const object = (value: unknown, name: string): Record<string, unknown> =>
    value !== null && typeof value === "object" && !Array.isArray(value)
      ? (value as Record<string, unknown>)
      : refuse(`${name} to be an object`, value);
  const json = object(read(text, where), "the state");
  const count = (from: Record<string, unknown>, name: string): number => {
    const value = from[name];
    return typeof value === "number" && Number.isSafeInteger(value) && value >= 0
      ? value
      : refuse(`${name} to be an integer of at least 0`, value);
  };
  const position = object(json["position"], "position");
  const bestLoss = json["bestLoss"];
  const settings: Record<string, string | number | boolean> = {};
  for (const [name, value] of Object.entries(object(json["settings"], "settings"))) {
    if (typeof value === "object" || value === undefined)
      refuse(`settings.${name} to be a plain value`, value);
    settings[name] = value as string | number | boolean;
  }
  return {
    step: count(json, "step"),
    position: { epoch: count(position, "epoch"), batch: count(position, "batch") },
    tokens: count(json, "tokens"),
    bestLoss:
      bestLoss === null || typeof bestLoss === "number"
        ? bestLoss
        : refuse("bestLoss to be a number or null", bestLoss),
    evaluationsSinceBest: count(json, "evaluationsSinceBest"),
    evaluatedStep: count(json, "evaluatedStep"),
    settings,
    optimizerStep: count(json, "optimizerStep"),
  };
}

function read(text: string, where: string): unknown {
  try {
    return JSON.parse(text);
  } catch (cause) {
    throw new ConfigError({ where, expected: "JSON", got: text.slice(0, 60), cause });
  }
}

/**
 * Compares the settings of a run with those of a checkpoint.
 *
 * @throws ConfigError naming the first that differs.
 */
export function checkSettings(path: string, own: RunState["settings"], saved: RunState["settings"]): void {
  for (const name of new Set([...Object.keys(own), ...Object.keys(saved)])) {
    if (own[name] === saved[name]) continue;
    throw new ConfigError({
      where: `resume from ${path}`,
      expected: `${name} ${String(saved[name])}, as the run began`,
      got: String(own[name]),
      hint: "resume with the settings and the data of that run, or choose another folder",
    });
  }
}
