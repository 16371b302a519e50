import type { Backend, Tensor } from "@lowrank/tensor";
import { runOn } from "@lowrank/tensor/testing";
import { describe, expect, test } from "vitest";
import * as linalg from "../../src/index.js";
import large from "../goldens/lapack-large.json" with { type: "json" };
import lapack from "../goldens/lapack.json" with { type: "json" };
import { FAMILIES, type Matrix, matrix, POSITIVE, random, SYMMETRIC } from "./families.js";
import { EPS, frobenius, REALS, type Real, stored, toTensor } from "./measure.js";

/** How near values come to the exact ones: so many eps of the largest. */
export type Accuracy = (n: number, family: string) => number;

const ours: Accuracy = () => 10;

/** Expects values so near, beside what storing the matrix in this dtype has moved them. */
function expectValues(
  family: string,
  got: ArrayLike<number>,
  want: readonly number[],
  a: Matrix,
  dtype: Real,
  accuracy: Accuracy,
): void {
  expect(got.length).toBe(want.length);
  const largest = Math.max(0, ...want.map(Math.abs));
  const bound =
    EPS[dtype] *
    (accuracy(Math.max(a.m, a.n), family) * largest + (dtype === "f32" ? 0.5 * frobenius(a) : 0));
  for (const [i, value] of want.entries()) {
    const error = Math.abs(got[i]! - value);
    if (!(error <= bound))
      expect.fail(
        `${family} [${a.m}, ${a.n}] ${dtype}, value ${i}: got ${got[i]}, exact ${value}, allowed ${bound}`,
      );
  }
}

/** Exact singular values and eigenvalues, and what LAPACK gives for the same matrices. */
export function goldenSuite(makeBackend: () => Promise<Backend>, accuracy = ours): void {
  describe(`against mpmath ${lapack.made.mpmath} and LAPACK (numpy ${lapack.made.numpy}, scipy ${lapack.made.scipy})`, () => {
    test("singular values to some eps of the largest", async () => {
      const backend = await makeBackend();
      for (const dtype of REALS) {
        for (const { family, m, n, values } of lapack.singularValues) {
          const a = FAMILIES[family]!(m, n);
          const [s, alone] = await runOn(backend, () => {
            const t = toTensor(stored(a, dtype), dtype);
            return [linalg.svd(t).s, linalg.singularValues(t)];
          });
          for (const got of [s!, alone!]) expectValues(family, got.data, values, a, dtype, accuracy);
        }
      }
    });

    test("eigenvalues to some eps of the largest", async () => {
      const backend = await makeBackend();
      for (const dtype of REALS) {
        for (const { family, n, values } of lapack.eigenvalues) {
          const a = SYMMETRIC[family]!(n);
          const [w, alone] = await runOn(backend, () => {
            const t = toTensor(stored(a, dtype), dtype);
            return [linalg.eigh(t).values, linalg.eigvalsh(t)];
          });
          for (const got of [w!, alone!]) expectValues(family, got.data, values, a, dtype, accuracy);
        }
      }
    });

    test("whole results where they are unique", async () => {
      const backend = await makeBackend();
      for (const golden of lapack.results) {
        const { m, n } = golden;
        const inputs = {
          a: random(m, n),
          b: random(m, 2, 9),
          square: random(n, n, 10),
          spd: POSITIVE["random"]!(n),
          even: SYMMETRIC["random"]!(n),
          low: FAMILIES["rankDeficient"]!(m, n),
        };
        const results = (): Record<string, Tensor> => {
          const { a, b, square, spd, even, low } = Object.fromEntries(
            Object.entries(inputs).map(([name, x]) => [name, toTensor(x, "f64")]),
          ) as Record<keyof typeof inputs, Tensor>;
          const { q, r } = linalg.qr(a);
          const { u, p } = linalg.polar(a);
          const { sign, logAbsDet } = linalg.slogdet(square);
          const { l, u: upper } = linalg.lu(square);
          return {
            q,
            r,
            polarU: u,
            polarP: p,
            cholesky: linalg.cholesky(spd),
            logdet: linalg.logdet(spd),
            sqrtm: linalg.sqrtm(spd),
            invSqrtm: linalg.invSqrtm(spd),
            logm: linalg.logm(spd),
            expmSymmetric: linalg.expmSymmetric(even),
            expm: linalg.expm(square.mul(3)),
            inverse: linalg.inverse(square),
            det: linalg.det(square),
            sign,
            logAbsDet,
            solve: linalg.solve(
              square,
              toTensor(
                matrix(n, 2, (i, j) => inputs.b.data[i * 2 + j]!),
                "f64",
              ),
            ),
            lstsq: linalg.lstsq(a, b).x,
            pinv: linalg.pinv(a),
            pinvOfLowRank: linalg.pinv(low),
            rankOfLowRank: linalg.lstsq(low, b).rank,
            lu: l.add(upper).sub(toTensor(FAMILIES["identity"]!(n, n), "f64")),
          };
        };
        const names = Object.keys(results());
        expect(names.sort()).toEqual(
          Object.keys(golden)
            .filter((k) => k !== "m" && k !== "n")
            .sort(),
        );
        const got = await runOn(backend, () => {
          const all = results();
          return names.map((name) => all[name]!);
        });
        for (const [i, name] of names.entries()) {
          const want = [golden[name as keyof typeof golden]].flat();
          // The condition numbers of these matrices are below 100.
          const bound = 1e-12 * Math.max(1, ...want.map(Math.abs));
          for (const [j, value] of want.entries())
            if (!(Math.abs(got[i]!.data[j]! - value) <= bound))
              expect.fail(`${name} [${m}, ${n}], number ${j}: got ${got[i]!.data[j]}, LAPACK ${value}`);
        }
      }
    });
  });
}

/** Seventeen of the exact values of each square family of some sizes: 128, 256, 512 and 1024 are there. */
export function largeSpectrumSuite(
  makeBackend: () => Promise<Backend>,
  sizes: readonly number[],
  dtypes: readonly Real[] = REALS,
  accuracy = ours,
  takes: (family: string, dtype: Real) => boolean = () => true,
): void {
  describe(`spectra at ${sizes.join(", ")}`, () => {
    for (const [what, rows, families, spectrum] of [
      ["singular values", large.singularValues, FAMILIES, linalg.singularValues],
      ["eigenvalues", large.eigenvalues, SYMMETRIC, (a: Tensor) => linalg.eigvalsh(a)],
    ] as const) {
      test(`${what} to some eps of the largest`, { timeout: 180_000 }, async () => {
        const backend = await makeBackend();
        for (const n of sizes) {
          const wanted = rows.filter((row) => row.n === n);
          expect(wanted.map(({ family }) => family)).toEqual(Object.keys(families));
          for (const { family, at, values } of wanted) {
            const taken = dtypes.filter((dtype) => takes(family, dtype));
            if (taken.length === 0) continue;
            const a = families[family]!(n, n);
            for (const dtype of taken) {
              const [got] = await runOn(backend, () => [spectrum(toTensor(stored(a, dtype), dtype))]);
              const some = at.map((i) => got!.data[i]!);
              expectValues(family, some, values, a, dtype, accuracy);
            }
          }
        }
      });
    }
  });
}
