import { ConfigError, type Tensor } from "@lowrank/tensor";
import { expectNumber } from "../matrix.js";

/** @throws ConfigError unless exactly one of ranks and tolerance is given, and tolerance is not negative */
export function expectOneRule(
  where: string,
  ranks: readonly unknown[] | undefined,
  tolerance: number | undefined,
): void {
  if ((ranks === undefined) === (tolerance === undefined)) {
    throw new ConfigError({
      where,
      expected: "one of ranks and tolerance",
      got: ranks === undefined ? "none" : "both",
    });
  }
  if (tolerance !== undefined) expectNumber(where, "tolerance", tolerance, 0);
}

/** @throws ConfigError unless there are as many ranks as asked for */
export function expectRanks(where: string, ranks: readonly unknown[], count: number, of: string): void {
  if (ranks.length !== count) {
    throw new ConfigError({
      where,
      expected: `${count} ranks, one for each ${of}`,
      got: String(ranks.length),
    });
  }
}

/** The fewest of the descending values, at least 1, whose rest has squares of at most `allowed` in all. Computes them. */
export async function countByTail(s: Tensor, allowed: number): Promise<number> {
  const values = await s.data();
  let [kept, tail] = [values.length, 0];
  while (kept > 1 && tail + values[kept - 1]! ** 2 <= allowed) tail += values[--kept]! ** 2;
  return kept;
}
