import { ConfigError } from "@lowrank/tensor";
import type { Target } from "./adapter.js";

/** A value for a message. One from a file may be an object without a prototype, which `String` cannot take. */
const show = (value: unknown): string =>
  typeof value === "object" || typeof value === "string"
    ? (JSON.stringify(value) ?? "nothing").slice(0, 120)
    : String(value);

/** Refuses a setting that is no integer within bounds. `layer` says for which layer the bounds hold. */
export function expectInteger(
  where: string,
  name: string,
  value: unknown,
  { min, max = Number.MAX_SAFE_INTEGER, layer }: { min: number; max?: number; layer?: string },
): void {
  if (typeof value === "number" && Number.isInteger(value) && value >= min && value <= max) return;
  const range = max === Number.MAX_SAFE_INTEGER ? `of at least ${min}` : `from ${min} to ${max}`;
  throw new ConfigError({
    where,
    expected: `${name} to be an integer ${range}${layer === undefined ? "" : ` (layer ${layer})`}`,
    got: show(value),
  });
}

/** Refuses a setting that is no finite number within bounds; `below` is itself out of bounds. */
export function expectNumber(
  where: string,
  name: string,
  value: unknown,
  { min = Number.NEGATIVE_INFINITY, below = Number.POSITIVE_INFINITY }: { min?: number; below?: number } = {},
): void {
  if (typeof value === "number" && Number.isFinite(value) && value >= min && value < below) return;
  const bounds = [
    min === Number.NEGATIVE_INFINITY ? "" : ` of at least ${min}`,
    below === Number.POSITIVE_INFINITY ? "" : ` below ${below}`,
  ].join("");
  throw new ConfigError({ where, expected: `${name} to be a finite number${bounds}`, got: show(value) });
}

/** Refuses a setting that is none of a few words. */
export function expectOneOf(where: string, name: string, value: unknown, choices: readonly unknown[]): void {
  if (choices.includes(value)) return;
  throw new ConfigError({
    where,
    expected: `${name} to be one of ${choices.map((c) => JSON.stringify(c)).join(", ")}`,
    got: show(value),
  });
}

/** Refuses a convolution whose channels are in groups. */
export function expectUngrouped(where: string, { filter, path }: Target): void {
  if (filter === undefined || filter.groups === 1) return;
  throw new ConfigError({
    where,
    expected: `convolutions without groups (layer "${path}")`,
    got: `${filter.groups} groups`,
    hint: "leave the layer out, or take a method for it that has groups: loha, lokr, fedPara, ia3",
  });
}
