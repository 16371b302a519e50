import { ConfigError } from "@lowrank/tensor";

interface Shaped {
  readonly shape: readonly number[];
}

/** What differs between the tensors that are wanted and those that came. */
export interface StateDifference {
  missing: string[];
  unexpected: string[];
  /** Name, shape wanted, shape that came. */
  misshapen: [name: string, wanted: readonly number[], came: readonly number[]][];
}

/** Compares tensors by name and shape. */
export function stateDifference(
  wanted: ReadonlyMap<string, Shaped>,
  came: ReadonlyMap<string, Shaped>,
): StateDifference {
  const difference: StateDifference = { missing: [], unexpected: [], misshapen: [] };
  for (const [name, { shape }] of wanted) {
    const value = came.get(name);
    if (value === undefined) difference.missing.push(name);
    else if (value.shape.join() !== shape.join()) difference.misshapen.push([name, shape, value.shape]);
  }
  for (const name of came.keys()) if (!wanted.has(name)) difference.unexpected.push(name);
  return difference;
}

const SHOWN = 8;

const list = (names: readonly string[]): string =>
  names.length <= SHOWN
    ? names.join(", ")
    : `${names.slice(0, SHOWN).join(", ")} and ${names.length - SHOWN} more`;

/** The difference in words. */
export function showDifference({ missing, unexpected, misshapen }: StateDifference): string {
  const shapes = misshapen.map(
    ([name, wanted, came]) => `${name} [${came.join(", ")}] instead of [${wanted.join(", ")}]`,
  );
  return [
    missing.length > 0 ? `${missing.length} missing (${list(missing)})` : "",
    unexpected.length > 0 ? `${unexpected.length} unexpected (${list(unexpected)})` : "",
    shapes.length > 0 ? `${shapes.length} of another shape (${list(shapes)})` : "",
  ]
    .filter((part) => part !== "")
    .join("; ");
}

/**
 * Refuses tensors that do not fit.
 *
 * @throws ConfigError that lists missing, unexpected and misshapen names.
 */
export function checkState(
  where: string,
  wanted: ReadonlyMap<string, Shaped>,
  came: ReadonlyMap<string, Shaped>,
  strict = true,
): void {
  const difference = stateDifference(wanted, came);
  if (!strict) {
    difference.missing = [];
    difference.unexpected = [];
  }
  const words = showDifference(difference);
  if (words !== "") {
    throw new ConfigError({ where, expected: `${wanted.size} tensors by name and shape`, got: words });
  }
}
