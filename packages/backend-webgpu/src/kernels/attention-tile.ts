import type { Operand } from "@lowrank/tensor/backend";
import type { Traits } from "../emit-traits.js";
import { lane, seq } from "../wgsl/text.js";
import type { Call } from "./attention-call.js";

/** Columns of a tile: 8 threads with four each. */
export const EDGE = 32;

/**
 * Tiles of attention: `high` × 8 threads hold the scores of `rows` rows each and four columns. What becomes of the scores lies
 * in workgroup memory as `tile[row][columns in fours]`, and is multiplied there with the rows that belong to its columns.
 */
export interface Tile {
  readonly high: number;
  readonly rows: number;
  /** Rows of all threads. */
  readonly height: number;
  readonly threads: number;
  /** Statements that say where a thread stands, as `ty` and `tx`. */
  readonly place: string;
}

/**
 * 32 rows by 32 columns, 4 × 4 a thread. A CPU that plays the GPU reads what all threads of a workgroup read in a fraction of
 * the time: there they stand side by side and share their rows, eight of them where that is worth the time of compiling.
 */
export function tileFor({ software }: Traits, { d, dv, arg }: Call): Tile {
  const high = software ? 1 : 8;
  const widest = Math.max(d, dv);
  const rows = software && !arg.mask && widest >= 8 && widest <= 16 ? 8 : 4;
  const place = `  let ty = ${high > 1 ? "lid / 8u" : "0u"};\n  let tx = lid % 8u;`;
  return { high, rows, height: high * rows, threads: high * 8, place };
}

export const tileText = ({ height }: Tile, name: string): string =>
  `var<workgroup> ${name}: array<array<F, 8>, ${height}>;`;

/** Vectors of a row that one of the 8 threads beside each other owns. */
export const shares = (width: number): number => Math.ceil(width / 8);

/**
 * Statements that make `out0`, `out1`, …, one for each row of a thread with four columns in its lanes: the products
 * Σ rows[r] · columns[c], for rows that begin at `{left}0`, `{left}1`, … and columns at `{right}0` to `{right}3`.
 */
export function products(
  c: Call,
  { rows }: Tile,
  out: string,
  [x, left]: readonly [Operand, string],
  [y, right]: readonly [Operand, string],
  width: number,
): string {
  const [a, b] = [c.reader(x), c.reader(y)];
  return `${seq(rows, (r) => `    var ${out}${r} = F(0.0);`)}
    for (var n = 0u; n < ${c.shader.param(width)}; n++) {
${seq(rows, (r) => `      let l${r} = ${a(left + r, "n")};`)}
${seq(4, (l) => `      let r${l} = ${b(right + l, "n")};`)}
${seq(rows, (r) => `      ${out}${r} += F(${seq(4, (l) => `dot(l${r}, r${l})`, ", ")});`)}
    }`;
}

/** Declares a thread's share of its rows of results. */
export const declareShare = ({ rows }: Tile, name: string, width: number): string =>
  seq(rows, (r) => seq(shares(width), (n) => `  var ${name}${r}_${n} = F(0.0);`));

/** Statements that add tile · x to a thread's share, where row number of x for column j of the tile begins at `place(j)`. */
export function addProduct(
  c: Call,
  { high, rows }: Tile,
  name: string,
  scores: string,
  x: Operand,
  width: number,
  place: (column: string) => string,
): string {
  const read = c.reader(x);
  const column = (n: number): string =>
    width % 8 === 0 ? `tx + ${8 * n}u` : `min(tx + ${8 * n}u, ${width - 1}u)`;
  // One key at a time keeps the text short that is compiled.
  if (high === 1) {
    return `    for (var n = 0u; n < ${c.shader.param(EDGE)}; n++) {
      let at = ${place("n")};
${seq(rows, (r) => `      let w${r} = ${scores}[${r}][n >> 2u][n & 3u];`)}
${seq(
  shares(width),
  (n) => `      let x${n} = ${read("at", column(n))};
${seq(rows, (r) => `      ${name}${r}_${n} += w${r} * x${n};`)}`,
)}
    }`;
  }
  // A bound that compilers do not know keeps them from unrolling.
  return `    for (var n = 0u; n < ${c.shader.param(EDGE / 4)}; n++) {
${seq(rows, (r) => `      let w${r} = ${scores}[ty * ${rows}u + ${r}u][n];`)}
${seq(
  4,
  (l) => `      {
        let at = ${place(`n * 4u + ${l}u`)};
${seq(
  shares(width),
  (n) => `        let x${n} = ${read("at", column(n))};
${seq(rows, (r) => `        ${name}${r}_${n} += w${r}.${lane(l)} * x${n};`)}`,
)}
      }`,
)}
    }`;
}

/** Statements for each vector that a thread owns of its rows: `text(row, n, column)`, inside of a test that it exists. */
export const eachShare = (
  { rows }: Tile,
  width: number,
  text: (r: number, n: number, column: string) => string,
): string =>
  seq(rows, (r) =>
    seq(
      shares(width),
      (n) => `    if (tx + ${8 * n}u < ${width}u) { ${text(r, n, `(tx + ${8 * n}u) * 4u`)} }`,
    ),
  );
