import { abs, type Backend, eye, max, oneHot, type Tensor } from "@lowrank/tensor";
import { runOn } from "@lowrank/tensor/testing";
import { describe, expect, test } from "vitest";
import * as linalg from "../../src/index.js";
import { FAMILIES, type Matrix, POSITIVE, SYMMETRIC } from "./families.js";
import type { Accuracy } from "./goldens.js";
import { EPS, type Real, REALS, toTensor } from "./measure.js";

const frobenius = (x: Tensor): Tensor => x.square().sum().sqrt();
const wide = (x: Tensor): Tensor => x.astype("f64");
const square = (n: number) => eye(n, n, { dtype: "f64" });

/** Errors of one matrix as [name, error, what it is relative to], 0-d tensors of f64. */
type Errors = readonly (readonly [string, Tensor, Tensor | number])[];

const orthonormal = (name: string, q: Tensor): Errors[number] => [
  name,
  frobenius(q.T.matmul(q).sub(square(q.shape[1]!))),
  1,
];

const CHECKS: Readonly<Record<string, { families: typeof FAMILIES; errors(a: Tensor): Errors }>> = {
  qr: {
    families: FAMILIES,
    errors(a) {
      const [q, r] = Object.values(linalg.qr(a)).map(wide) as [Tensor, Tensor];
      return [
        ["a - q r", frobenius(q.matmul(r).sub(wide(a))), frobenius(wide(a))],
        orthonormal("qᵀ q - I", q),
      ];
    },
  },
  qrPivoted: {
    families: FAMILIES,
    errors(a) {
      const { q, r, p } = linalg.qrPivoted(a);
      const permuted = wide(a).matmul(oneHot(p, a.shape[1]!, { dtype: "f64" }).T);
      const error = frobenius(wide(q).matmul(wide(r)).sub(permuted));
      return [["a[:, p] - q r", error, frobenius(wide(a))], orthonormal("qᵀ q - I", wide(q))];
    },
  },
  svd: {
    families: FAMILIES,
    errors(a) {
      const { u, s, vt } = linalg.svd(a);
      const [U, S, Vt] = [u, s, vt].map(wide) as [Tensor, Tensor, Tensor];
      return [
        ["a - u diag(s) vt", frobenius(U.mul(S).matmul(Vt).sub(wide(a))), frobenius(wide(a))],
        orthonormal("uᵀ u - I", U),
        orthonormal("vᵀ v - I", Vt.T),
        ["s - singularValues", max(abs(S.sub(wide(linalg.singularValues(a))))), max(S)],
      ];
    },
  },
  lu: {
    families: FAMILIES,
    errors(a) {
      const { l, u, p } = linalg.lu(a);
      const [L, U] = [wide(l), wide(u)];
      const permuted = oneHot(p, a.shape[0]!, { dtype: "f64" }).matmul(wide(a));
      return [["a[p] - l u", frobenius(L.matmul(U).sub(permuted)), frobenius(L).mul(frobenius(U))]];
    },
  },
  eigh: {
    families: squares(SYMMETRIC),
    errors(a) {
      const { values, vectors } = linalg.eigh(a);
      const [w, V] = [wide(values), wide(vectors)];
      return [
        ["a - V diag(w) Vᵀ", frobenius(V.mul(w).matmul(V.T).sub(wide(a))), frobenius(wide(a))],
        orthonormal("Vᵀ V - I", V),
        ["w - eigvalsh", max(abs(w.sub(wide(linalg.eigvalsh(a))))), max(abs(w))],
      ];
    },
  },
  cholesky: {
    families: squares(POSITIVE),
    errors(a) {
      const L = wide(linalg.cholesky(a));
      return [["a - L Lᵀ", frobenius(L.matmul(L.T).sub(wide(a))), frobenius(wide(a))]];
    },
  },
  solve: {
    families: squares(POSITIVE),
    errors(a) {
      const b = a.slice([null, [0, 8]]);
      const x = wide(linalg.solve(a, b));
      const y = wide(linalg.choleskySolve(linalg.cholesky(a), b));
      const error = (z: Tensor) => frobenius(wide(a).matmul(z).sub(wide(b)));
      const scale = (z: Tensor) => frobenius(wide(a)).mul(frobenius(z));
      return [
        ["a x - b by LU", error(x), scale(x)],
        ["a x - b by Cholesky", error(y), scale(y)],
      ];
    },
  },
};

function squares(families: Readonly<Record<string, (n: number) => Matrix>>): typeof FAMILIES {
  return Object.fromEntries(Object.entries(families).map(([name, f]) => [name, (n: number) => f(n)]));
}

/**
 * Backward errors and orthogonality of larger matrices, measured in f64 by products on the backend itself: below 20 n eps.
 * Values only against the values of the whole decomposition to 10 eps, or what else `accuracy` says. Of families, dtypes and
 * decompositions those that it `takes`.
 */
export function largeSuite(
  makeBackend: () => Promise<Backend>,
  shapes: readonly (readonly [number, number])[],
  accuracy: Accuracy = () => 10,
  takes: (family: string, dtype: Real, decomposition: string) => boolean = () => true,
): void {
  describe(`sizes ${shapes.map((s) => s.join("×")).join(", ")}`, () => {
    for (const [name, { families, errors }] of Object.entries(CHECKS)) {
      test(`${name}: errors below 20 n eps`, { timeout: 180_000 }, async () => {
        const backend = await makeBackend();
        for (const [m, n] of shapes) {
          if (m !== n && families !== FAMILIES) continue;
          for (const [family, f] of Object.entries(families)) {
            const dtypes = REALS.filter((dtype) => takes(family, dtype, name));
            if (dtypes.length === 0) continue;
            const a = f(m, n);
            for (const dtype of dtypes) {
              const names: string[] = [];
              const results = await runOn(backend, () =>
                errors(toTensor(a, dtype)).flatMap(([what, error, scale]) => {
                  names.push(what);
                  return [error, typeof scale === "number" ? error.mul(0).add(scale) : scale];
                }),
              );
              for (const [i, what] of names.entries()) {
                const [error, scale] = [results[2 * i]!.data[0]!, results[2 * i + 1]!.data[0]!];
                const most = Math.max(m, n);
                const factor = /- (singularValues|eigvalsh)/.test(what) ? accuracy(most, family) : 20 * most;
                const bound = factor * EPS[dtype] * scale;
                if (!(error <= bound))
                  expect.fail(`${what} of ${family} ${dtype} [${m}, ${n}]: ${error}, allowed ${bound}`);
              }
            }
          }
        }
      });
    }
  });
}
