import { chainRow } from "./chain.js";
import { decoderRow } from "./decoder.js";
import { layerNormRow } from "./layernorm.js";
import { matmulRows } from "./matmul.js";
import { mlpRow } from "./mlp.js";
import type { Row } from "./row.js";
import { softmaxRow } from "./softmax.js";

/** The rows of `bench core`, in the order in which they run. */
export const CORE_ROWS: readonly Row[] = [
  ...matmulRows,
  chainRow,
  softmaxRow,
  layerNormRow,
  mlpRow,
  decoderRow,
];

/** The rows that a list of names asks for: a name, or its beginning with a `*`. Throws at a name that fits none. */
export function chooseRows(rows: readonly Row[], asked: string | undefined): Row[] {
  if (!asked) return [...rows];
  const chosen = new Set<Row>();
  for (const pattern of asked.split(",").map((p) => p.trim())) {
    const fits = rows.filter(({ name }) =>
      pattern.endsWith("*") ? name.startsWith(pattern.slice(0, -1)) : name === pattern,
    );
    if (fits.length === 0) {
      throw new Error(`bench: expected --rows among ${rows.map((r) => r.name).join(", ")}, got "${pattern}"`);
    }
    for (const row of fits) chosen.add(row);
  }
  return rows.filter((row) => chosen.has(row));
}
