import { arange, type Backend, broadcastTo, eye, fromHost, type Tensor } from "@lowrank/tensor";
import { runOn } from "@lowrank/tensor/testing";
import { describe, expect, test } from "vitest";
import {
  cholesky,
  eigh,
  eigvalsh,
  lu,
  qr,
  qrPivoted,
  singularValues,
  svd,
  triangularSolve,
} from "../../src/index.js";
import { FAMILIES, type Matrix, matrix, POSITIVE, product, SYMMETRIC, transposed } from "./families.js";
import {
  EPS,
  expectBackward,
  expectOrthonormal,
  expectSigns,
  frobenius,
  matricesOf,
  type Real,
  REALS,
  stored,
  toTensor,
} from "./measure.js";

const SHAPES: readonly (readonly [number, number])[] = [
  [1, 1],
  [1, 6],
  [6, 1],
  [0, 3],
  [3, 0],
  [0, 0],
  [2, 2],
  [5, 5],
  [7, 4],
  [4, 7],
  [40, 12],
  [12, 40],
  [33, 33],
];
const SIZES = [0, 1, 2, 3, 8, 21, 40];

/** Values of a result with one axis less than matrices, as rows of a batch. */
const rows = (result: { dims: readonly number[]; data: ArrayLike<number> }): Float64Array[] => {
  const n = result.dims[result.dims.length - 1]!;
  const count = result.dims.slice(0, -1).reduce((a, b) => a * b, 1);
  return Array.from({ length: count }, (_, b) => Float64Array.from(result.data).slice(b * n, (b + 1) * n));
};

const scaled = (u: Matrix, s: Float64Array): Matrix =>
  matrix(u.m, s.length, (i, j) => u.data[i * u.n + j]! * s[j]!);

const top = (a: Matrix, count: number): Matrix => ({ m: count, n: a.n, data: a.data.slice(0, count * a.n) });

/** Identities of every factorisation on families of matrices; each family of one shape is one batch. */
export function factorisationSuite(makeBackend: () => Promise<Backend>): void {
  const each =
    (
      shapes: readonly (readonly [number, number])[],
      families: (m: number, n: number) => Matrix[],
      body: (backend: Backend, batch: Matrix[], dtype: Real) => Promise<void>,
    ) =>
    async () => {
      const backend = await makeBackend();
      for (const dtype of REALS)
        for (const [m, n] of shapes)
          await body(
            backend,
            families(m, n).map((a) => stored(a, dtype)),
            dtype,
          );
    };
  const all = (m: number, n: number) => Object.values(FAMILIES).map((f) => f(m, n));
  const symmetric = (n: number) => Object.values(SYMMETRIC).map((f) => f(n));
  const positive = (n: number) => Object.values(POSITIVE).map((f) => f(n));
  const squares = SIZES.map((n) => [n, n] as const);

  describe("factorisations", () => {
    test(
      "qr: a = q r, q orthonormal, r upper triangular with a diagonal that is not negative",
      each(SHAPES, all, async (backend, batch, dtype) => {
        for (const mode of ["thin", "full"] as const) {
          const [q, r] = (
            await runOn(backend, () => {
              const { q, r } = qr(toTensor(batch, dtype), { mode });
              return [q, r];
            })
          ).map(matricesOf) as [Matrix[], Matrix[]];
          for (const [b, a] of batch.entries()) {
            const [Q, R] = [q[b]!, r[b]!];
            expectBackward(`qr ${mode} ${b}`, product(Q, R), a, dtype);
            expectOrthonormal(`qr ${mode} ${b}`, Q, dtype);
            for (let i = 0; i < R.m; i++) {
              for (let j = 0; j < Math.min(i, R.n); j++) expect(R.data[i * R.n + j]).toBe(0);
              if (i < R.n) expect(R.data[i * R.n + i]).toBeGreaterThanOrEqual(0);
            }
          }
        }
      }),
    );

    test(
      "svd: a = u diag(s) vt, u and v orthonormal, s descending, signs fixed by u",
      each(SHAPES, all, async (backend, batch, dtype) => {
        for (const full of [false, true]) {
          const [ru, rs, rvt, rvalues] = await runOn(backend, () => {
            const a = toTensor(batch, dtype);
            const { u, s, vt } = svd(a, { full });
            return [u, s, vt, singularValues(a)];
          });
          const [us, ss, vts, values] = [matricesOf(ru!), rows(rs!), matricesOf(rvt!), rows(rvalues!)];
          for (const [b, a] of batch.entries()) {
            const [u, s, vt] = [us[b]!, ss[b]!, vts[b]!];
            expectBackward(`svd ${b}`, product(scaled(u, s), top(vt, s.length)), a, dtype);
            expectOrthonormal(`svd u ${b}`, u, dtype);
            expectOrthonormal(`svd v ${b}`, transposed(vt), dtype);
            expectSigns(`svd ${b}`, { ...u, n: u.n }, dtype);
            for (const [j, value] of s.entries()) {
              expect(value).toBeGreaterThanOrEqual(0);
              if (j > 0) expect(value).toBeLessThanOrEqual(s[j - 1]!);
              expect(Math.abs(value - values[b]![j]!)).toBeLessThanOrEqual(10 * EPS[dtype] * s[0]!);
            }
          }
        }
      }),
    );

    test(
      "eigh: a = V diag(w) Vᵀ, V orthonormal, w ascending",
      each(squares, symmetric, async (backend, batch, dtype) => {
        const [rw, rv, rvalues] = await runOn(backend, () => {
          const a = toTensor(batch, dtype);
          const { values, vectors } = eigh(a);
          return [values, vectors, eigvalsh(a)];
        });
        const [ws, vs, values] = [rows(rw!), matricesOf(rv!), rows(rvalues!)];
        for (const [b, a] of batch.entries()) {
          const [w, v] = [ws[b]!, vs[b]!];
          expectBackward(`eigh ${b}`, product(scaled(v, w), transposed(v)), a, dtype);
          expectOrthonormal(`eigh ${b}`, v, dtype);
          expectSigns(`eigh ${b}`, v, dtype);
          const scale = Math.max(...w.map(Math.abs), 0);
          for (const [j, value] of w.entries()) {
            if (j > 0) expect(value).toBeGreaterThanOrEqual(w[j - 1]!);
            expect(Math.abs(value - values[b]![j]!)).toBeLessThanOrEqual(10 * EPS[dtype] * scale);
          }
        }
      }),
    );

    test(
      "cholesky: a = L Lᵀ, L lower with a positive diagonal",
      each(squares, positive, async (backend, batch, dtype) => {
        const [result] = await runOn(backend, () => [cholesky(toTensor(batch, dtype))]);
        for (const [b, L] of matricesOf(result!).entries()) {
          expectBackward(`cholesky ${b}`, product(L, transposed(L)), batch[b]!, dtype);
          for (let i = 0; i < L.m; i++) {
            expect(L.data[i * L.n + i]).toBeGreaterThan(0);
            for (let j = i + 1; j < L.n; j++) expect(L.data[i * L.n + j]).toBe(0);
          }
        }
      }),
    );

    test(
      "triangularSolve: op(a) x = b or x op(a) = b, the other triangle is never read",
      each(squares, positive, async (backend, batch, dtype) => {
        const n = batch[0]!.n;
        const right = stored(FAMILIES["random"]!(n, 3), dtype);
        for (const flags of Array.from({ length: 16 }, (_, i) => i)) {
          const [lower, transpose, left, unitDiagonal] = [1, 2, 4, 8].map((bit) => (flags & bit) !== 0);
          // Diagonally dominant, so that the solution is of the size of b.
          const triangles = batch.map((a) => {
            const d = frobenius(a) || 1;
            return stored(
              matrix(n, n, (i, j) => {
                if (i === j)
                  return unitDiagonal ? Number.MAX_VALUE / 2 ** (dtype === "f32" ? 900 : 1) : 1 + (i % 3);
                return lower === i > j ? a.data[i * n + j]! / d / 2 : Number.NaN;
              }),
              dtype,
            );
          });
          const b = left ? right : transposed(right);
          const options = { lower, transpose, left, unitDiagonal } as Parameters<typeof triangularSolve>[2];
          const [result] = await runOn(backend, () => [
            triangularSolve(toTensor(triangles, dtype), toTensor(b, dtype), options),
          ]);
          for (const [at, x] of matricesOf(result!).entries()) {
            const t = triangles[at]!;
            const read = matrix(n, n, (i, j) =>
              i === j ? (unitDiagonal ? 1 : t.data[i * n + i]!) : lower === i > j ? t.data[i * n + j]! : 0,
            );
            const op = transpose ? transposed(read) : read;
            const got = left ? product(op, x) : product(x, op);
            expectBackward(`triangularSolve ${flags} ${at}`, got, b, dtype, frobenius(op) * frobenius(x));
          }
        }
      }),
    );

    test("views are read as what they are, and no input is written to", async () => {
      const backend = await makeBackend();
      for (const dtype of REALS) {
        const whole = stored(FAMILIES["random"]!(12, 10), dtype);
        const views: readonly ((a: Tensor) => Tensor)[] = [
          (a) => a.T,
          (a) =>
            a.slice([
              [1, 7],
              [9, 3, -1],
            ]),
          (a) =>
            a.slice([
              [0, null, 2],
              [2, 8],
            ]),
          (a) =>
            broadcastTo(
              a.slice([
                [0, 4],
                [0, 4],
              ]),
              [2, 4, 4],
            ),
          (a) => a.reshape([2, 6, 10]).permute([0, 2, 1]),
        ];
        for (const [i, view] of views.entries()) {
          const results = (a: Tensor) => {
            // Without a null space, of which any basis would do.
            const unit = eye(a.shape[a.ndim - 1]!, undefined, { dtype });
            const even = a.T.matmul(a).add(unit.mul(arange(a.shape[a.ndim - 1]!, null, 1, { dtype })));
            const positive = even.add(unit);
            return [
              ...Object.values(qr(a)),
              ...Object.values(qrPivoted(a)).slice(0, 2),
              ...Object.values(svd(a)),
              ...Object.values(lu(a)).slice(0, 2),
              ...Object.values(eigh(even)),
              cholesky(positive),
              triangularSolve(positive, a.T),
            ];
          };
          const source = toTensor(whole, dtype);
          const direct = await runOn(backend, () => [...results(view(source)), source.add(0)]);
          const [plain] = await runOn(backend, () => [view(source).add(0)]);
          const copied = fromHost(dtype, plain!.dims, plain!.data as Float64Array);
          const again = await runOn(backend, () => results(copied));
          // Products of views may be summed in another order.
          for (const [k, { data }] of again.entries())
            for (const [at, want] of Array.from(data).entries())
              expect(Math.abs(direct[k]!.data[at]! - want), `view ${i}, result ${k}`).toBeLessThan(
                1e4 * EPS[dtype],
              );
          expect(Array.from(direct[direct.length - 1]!.data)).toEqual(Array.from(whole.data));
          expect(Array.from(await source.data())).toEqual(Array.from(whole.data));
        }
      }
    });

    test("matrices of any size neither overflow nor vanish", async () => {
      const backend = await makeBackend();
      for (const [dtype, power] of [
        ["f64", 2 ** 600],
        ["f64", 2 ** -600],
        ["f32", 2 ** 80],
        ["f32", 2 ** -80],
      ] as const) {
        const sized = ({ m, n, data }: Matrix) => stored({ m, n, data: data.map((x) => x * power) }, dtype);
        const [tall, even] = [sized(FAMILIES["random"]!(6, 4)), sized(SYMMETRIC["random"]!(5))];
        const [q, r, u, s, vt, w, v] = (await runOn(backend, () => {
          const [A, S] = [toTensor(tall, dtype), toTensor(even, dtype)];
          const [one, two, three] = [qr(A), svd(A), eigh(S)];
          return [one.q, one.r, two.u, two.s, two.vt, three.values, three.vectors];
        })) as unknown as [Run, Run, Run, Run, Run, Run, Run];
        const at = (x: Run) => matricesOf(x)[0]!;
        expectBackward("qr", product(at(q), at(r)), tall, dtype);
        expectBackward("svd", product(scaled(at(u), rows(s)[0]!), at(vt)), tall, dtype);
        expectBackward("eigh", product(scaled(at(v), rows(w)[0]!), transposed(at(v))), even, dtype);
      }
    });
  });
}

type Run = { dims: readonly number[]; data: ArrayLike<number> };
