import { ConfigError, type Key } from "@lowrank/tensor";

export function expectRank(where: string, rank: number, most: number, name = "rank"): void {
  if (!(Number.isInteger(rank) && rank >= 1 && rank <= most)) {
    throw new ConfigError({
      where,
      expected: `${name} to be an integer from 1 to ${most}`,
      got: String(rank),
    });
  }
}

export function expectCount(where: string, name: string, value: number, least: number): void {
  if (!(Number.isInteger(value) && value >= least)) {
    throw new ConfigError({ where, expected: `${name} to be an integer ≥ ${least}`, got: String(value) });
  }
}

export function expectKey(where: string, key: Key): void {
  if (typeof key?.split !== "function") {
    throw new ConfigError({
      where,
      expected: "a key of random numbers",
      got: String(key),
      hint: "for instance key(0) of @lowrank/tensor",
    });
  }
}
