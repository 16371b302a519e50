import type { ErrorLine } from "./linalg-errors.js";
import { markdownTable } from "./markdown.js";

const show = (x: number | undefined): string => {
  if (x === undefined) return "–";
  return x >= 1e4 ? x.toExponential(0).replace("e+", "e") : x >= 100 ? x.toFixed(0) : x.toPrecision(2);
};

const nameOf = ({ what, steps, rank }: ErrorLine): string =>
  what + (steps ? `, ${steps} steps` : "") + (rank ? `, rank ${rank}` : "");

/** Tables of a run of `linalg-errors`: what is small in units of eps, and the randomised decomposition beside the best. */
export function linalgErrorsMarkdown(lines: readonly ErrorLine[]): string {
  const families = [...new Set(lines.map((l) => l.family))];
  const dtypes = [...new Set(lines.map((l) => l.dtype))];
  const names = [...new Set(lines.map(nameOf))];
  const at = (name: string, family: string, dtype: string): ErrorLine | undefined =>
    lines.find((l) => nameOf(l) === name && l.family === family && l.dtype === dtype);
  const rowsOf = (kinds: readonly (readonly [keyof ErrorLine, string])[]): string[][] =>
    names.flatMap((name) =>
      kinds.flatMap(([kind, text]) => {
        if (!lines.some((l) => nameOf(l) === name && l[kind] !== undefined)) return [];
        const cells = dtypes.flatMap((dtype) =>
          families.map((family) => show(at(name, family, dtype)?.[kind] as number | undefined)),
        );
        return [[`${name}: ${text}`, ...cells]];
      }),
    );
  const head = ["", ...dtypes.flatMap((dtype) => families.map((family) => `${family}, ${dtype}`))];
  const { n, machine } = lines[0]!;
  return [
    `Matrices of ${n} on the WebAssembly backend, ${machine}. In units of eps (2⁻⁵² in f64, 2⁻²³ in f32): ‖a - product‖ / ‖a‖, for solve ‖b - a x‖ / ‖|a||x|‖; ‖qᵀq - I‖; the largest error of a singular value, or of the magnitude of an eigenvalue, beside the largest of them. Norms are Frobenius'. f64 is held against arithmetic of twice its digits, f32 against f64.`,
    markdownTable(
      head,
      rowsOf([
        ["backward", "product"],
        ["orthogonality", "orthogonality"],
        ["values", "values"],
      ]),
    ),
    "Of what is left by a decomposition of low rank, the spectral norm beside the next singular value, which is the least possible, and the bound that the function gives:",
    markdownTable(
      head,
      rowsOf([
        ["excess", "error"],
        ["bound", "bound"],
      ]),
    ),
  ].join("\n\n");
}
