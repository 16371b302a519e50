import type { Operand } from "@lowrank/tensor/backend";
import { lane, seq } from "../wgsl/text.js";
import type { Call } from "./attention-call.js";

/**
 * Tiles of attention: 8 × 8 threads hold a square of 32 rows by 32 columns of scores, 4 × 4 each. What becomes of the scores
 * lies in workgroup memory as `tile[row][columns in fours]`, and is multiplied there with the rows that belong to its columns.
 */
export const EDGE = 32;
export const THREADS = 64;
export const tileText = (name: string): string => `var<workgroup> ${name}: array<array<F, 8>, ${EDGE}>;`;

/** Vectors of a row that one of the 8 threads beside each other owns. */
export const shares = (width: number): number => Math.ceil(width / 8);

/**
 * Statements that make `out0` to `out3`, one for each row of a thread with four columns in its lanes: the products
 * Σ rows[r] · columns[c], for rows that begin at `{left}0` to `{left}3` and columns at `{right}0` to `{right}3`.
 */
export function products(
  c: Call,
  out: string,
  [x, left]: readonly [Operand, string],
  [y, right]: readonly [Operand, string],
  width: number,
): string {
  const [a, b] = [c.reader(x), c.reader(y)];
  return `${seq(4, (r) => `    var ${out}${r} = F(0.0);`)}
    for (var n = 0u; n < ${c.shader.param(width)}; n++) {
${seq(4, (r) => `      let l${r} = ${a(left + r, "n")};`)}
${seq(4, (r) => `      let r${r} = ${b(right + r, "n")};`)}
${seq(4, (r) => `      ${out}${r} += F(${seq(4, (l) => `dot(l${r}, r${l})`, ", ")});`)}
    }`;
}

/** Declares a thread's share of four rows of results. */
export const declareShare = (name: string, width: number): string =>
  seq(4, (r) => seq(shares(width), (n) => `  var ${name}${r}_${n} = F(0.0);`));

/** Statements that add tile · x to a thread's share, where row number of x for column j of the tile begins at `place(j)`. */
export function addProduct(
  c: Call,
  name: string,
  tile: string,
  x: Operand,
  width: number,
  place: (column: string) => string,
): string {
  const read = c.reader(x);
  const column = (n: number): string =>
    width % 8 === 0 ? `tx + ${8 * n}u` : `min(tx + ${8 * n}u, ${width - 1}u)`;
  // A bound that compilers do not know keeps them from unrolling.
  return `    for (var n = 0u; n < ${c.shader.param(EDGE / 4)}; n++) {
${seq(4, (r) => `      let w${r} = ${tile}[ty * 4u + ${r}u][n];`)}
${seq(
  4,
  (l) => `      {
        let at = ${place(`n * 4u + ${l}u`)};
${seq(
  shares(width),
  (n) => `        let x${n} = ${read("at", column(n))};
${seq(4, (r) => `        ${name}${r}_${n} += w${r}.${lane(l)} * x${n};`)}`,
)}
      }`,
)}
    }`;
}

/** Statements for each vector that a thread owns of its rows: `text(row, n, column)`, inside of a test that it exists. */
export const eachShare = (width: number, text: (r: number, n: number, column: string) => string): string =>
  seq(4, (r) =>
    seq(
      shares(width),
      (n) => `    if (tx + ${8 * n}u < ${width}u) { ${text(r, n, `(tx + ${8 * n}u) * 4u`)} }`,
    ),
  );
