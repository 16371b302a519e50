import { attentionRows } from "./attention.js";
import { chainRow } from "./chain.js";
import { decoderRows } from "./decoder.js";
import { decompositionRows } from "./decomposition.js";
import { layerNormRows } from "./layernorm.js";
import { matmulRows } from "./matmul.js";
import { matvecRows } from "./matvec.js";
import { mlpRow } from "./mlp.js";
import { probeRows } from "./probe.js";
import { rankRows } from "./rank.js";
import type { Row } from "./row.js";
import { softmaxRows } from "./softmax.js";
import { startRow } from "./start.js";

/** The rows of `bench core`, in the order in which they run. */
export const CORE_ROWS: readonly Row[] = [
  ...matmulRows([512, 1024, 2048]),
  ...rankRows,
  chainRow,
  ...softmaxRows,
  ...layerNormRows,
  mlpRow,
  ...decoderRows,
  ...matvecRows,
  startRow,
];

/** The rows of `bench linalg`. */
export const LINALG_ROWS: readonly Row[] = decompositionRows;

/** The rows of `bench webgpu`: what the adapter can do comes first, the others are held against it. */
export const WEBGPU_ROWS: readonly Row[] = [
  ...probeRows,
  ...matmulRows([256, 512, 1024, 2048]).map(
    (row): Row => (/-(tn|nt|tt)$/.test(row.name) ? { ...row, onlyNamed: true } : row),
  ),
  ...rankRows,
  chainRow,
  ...softmaxRows,
  ...layerNormRows,
  ...attentionRows,
  mlpRow,
  ...decoderRows.filter(({ fresh }) => !fresh),
];

/**
 * The rows that a list of names asks for: a name, or its beginning with a `*`. Without a list, all that belong to a run
 * with so many threads and need not be named. Throws at a name that fits none.
 */
export function chooseRows(rows: readonly Row[], asked: string | undefined, threads = 1): Row[] {
  if (!asked) return rows.filter((r) => !r.onlyNamed && (threads === 1 || !r.oneThread));
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
