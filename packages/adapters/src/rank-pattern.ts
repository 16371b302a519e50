/**
 * Ranks by the path of a layer as the `rankPattern` of `attach`, whose keys are regular expressions for the end of a path:
 * each key here is for one whole path.
 *
 * @example
 * ```ts
 * attach(model, lora, { rank: 1 }, { targets: Object.keys(ranks), rankPattern: rankPattern(ranks) });
 * ```
 * @category Choice of ranks
 */
export function rankPattern(ranks: Readonly<Record<string, number>>): Record<string, number> {
  const whole = (path: string): string => `^${path.replace(/[\\^$.*+?()[\]{}|]/g, "\\$&")}`;
  return Object.fromEntries(Object.entries(ranks).map(([path, rank]) => [whole(path), rank]));
}
