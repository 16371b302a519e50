import { type Backend, eye, fromHost, gradients, type Tensor, tensor } from "@lowrank/tensor";
import { runOn } from "@lowrank/tensor/testing";
import { describe, expect, test } from "vitest";
import * as linalg from "../../src/index.js";
import { drawn, positive, symmetric } from "./factorisation-gradients.js";
import { checkSlope, type Slope, weighed, weights } from "./gradient.js";
import { fault } from "./refusals.js";

/** 4 I + x: far from singular for elements in [-1, 1). */
const away = (x: Tensor): Tensor => x.add(eye(x.shape[x.ndim - 1]!, undefined, { dtype: x.dtype }).mul(4));

const still = (n: number) => ({ dims: [n, n], data: new Float64Array(n * n) });
const diagonal = (values: readonly number[]): Tensor =>
  eye(values.length, undefined, { dtype: "f64" }).mul(tensor(Float64Array.from(values)));

/** Gradients of everything that is composed of factorisations, against central differences. */
export function derivedGradientSuite(makeBackend: () => Promise<Backend>): void {
  const cases = (
    name: string,
    shapes: readonly (readonly number[])[],
    f: (...xs: Tensor[]) => Tensor,
    others: readonly (readonly number[])[] = [],
    options: Slope = { second: true },
  ) =>
    test(name, async () => {
      const backend = await makeBackend();
      for (const dims of shapes) {
        const inputs = [drawn(dims, 21), ...others.map((o, i) => drawn(o, 22 + i))];
        await checkSlope(backend, `${name} ${dims}`, f, inputs, options);
      }
    });
  const squares = [
    [1, 1],
    [3, 3],
    [2, 3, 3],
  ];
  const all = [
    [1, 1],
    [4, 2],
    [3, 3],
    [2, 4],
    [2, 3, 2],
  ];

  describe("gradients of what is derived", () => {
    cases(
      "lu, both factors",
      [
        [1, 1],
        [4, 4],
        [5, 3],
        [3, 5],
        [2, 3, 3],
      ],
      (x) => {
        const { l, u } = linalg.lu(x);
        return weighed(l).add(weighed(u, 3));
      },
    );
    cases(
      "l of lu",
      [
        [3, 3],
        [4, 2],
        [2, 4],
      ],
      (x) => weighed(linalg.lu(x).l),
    );
    cases(
      "u of lu",
      [
        [3, 3],
        [4, 2],
        [2, 4],
      ],
      (x) => weighed(linalg.lu(x).u),
    );
    cases("qrPivoted", all, (x) => {
      const { q, r } = linalg.qrPivoted(x);
      return weighed(q).add(weighed(r, 3));
    });
    cases(
      "solve",
      [
        [3, 3],
        [2, 3, 3],
      ],
      (a, b) => weighed(linalg.solve(away(a), b!)),
      [[3, 2]],
    );
    cases("solve for a vector", [[3, 3]], (a, b) => weighed(linalg.solve(away(a), b!)), [[3]]);
    cases("choleskySolve", squares, (a) => {
      const x = positive(a);
      return weighed(linalg.choleskySolve(linalg.cholesky(x), x.mul(x)));
    });
    cases("inverse", squares, (a) => weighed(linalg.inverse(away(a))));
    cases("det", squares, (a) => weighed(linalg.det(a)));
    cases("slogdet", squares, (a) => weighed(linalg.slogdet(a).logAbsDet));
    cases("logdet", squares, (a) => weighed(linalg.logdet(positive(a))));
    test("lstsq, tall and wide", async () => {
      const backend = await makeBackend();
      for (const [m, n] of [
        [4, 2],
        [2, 4],
        [3, 3],
      ] as const) {
        const f = (a: Tensor, b: Tensor) => {
          const { x, singularValues } = linalg.lstsq(a, b);
          return weighed(x).add(weighed(singularValues));
        };
        await checkSlope(backend, `lstsq ${m} ${n}`, f, [drawn([m, n], 5), drawn([m, 2], 6)], {
          second: true,
        });
      }
    });
    cases("pinv", all, (a) => weighed(linalg.pinv(a)));
    test("pinv and lstsq of constant rank", async () => {
      const backend = await makeBackend();
      const low = (b: Tensor, c: Tensor) => b.matmul(c);
      const inputs = [drawn([4, 2], 7), drawn([2, 3], 8)];
      await checkSlope(
        backend,
        "pinv of rank 2",
        (b, c) => weighed(linalg.pinv(low(b!, c!), { rtol: 1e-9 })),
        inputs,
      );
      const f = (b: Tensor, c: Tensor, y: Tensor) => weighed(linalg.lstsq(low(b, c), y, { rtol: 1e-9 }).x);
      await checkSlope(backend, "lstsq of rank 2", f, [...inputs, drawn([4, 2], 9)]);
    });
    cases("sqrtm", squares, (a) => weighed(linalg.sqrtm(positive(a))));
    cases("invSqrtm", squares, (a) => weighed(linalg.invSqrtm(positive(a))));
    cases("logm", squares, (a) => weighed(linalg.logm(positive(a))));
    cases("expmSymmetric", squares, (a) => weighed(linalg.expmSymmetric(symmetric(a))));
    cases("expm", squares, (a) => weighed(linalg.expm(a)));
    cases("expm with squarings", squares, (a) => weighed(linalg.expm(a.mul(9))), [], { atol: 1e-4 });
    cases("polar", all, (a) => {
      const { u, p } = linalg.polar(a);
      return weighed(u).add(weighed(p, 3));
    });
    cases("u of polar", all, (a) => weighed(linalg.polar(a).u));
    cases("p of polar", all, (a) => weighed(linalg.polar(a).p));
    cases("newtonSchulz", all, (a) => weighed(linalg.newtonSchulz(a, { steps: 3 })));
    cases("kron", [[2, 3]], (a, b) => weighed(linalg.kron(a, b!)), [[2, 2]]);
    cases("kronApply", [[2, 3]], (a, b, x) => weighed(linalg.kronApply(a, b!, x!)), [
      [2, 2],
      [6, 2],
    ]);

    test("matrix functions and polar are exact for equal and almost equal values", async () => {
      const backend = await makeBackend();
      for (const gap of [1e-3, 1e-7, 1e-10, 1e-14, 0]) {
        const base = diagonal([1, 1 + gap, 2, 2 + gap]);
        for (const [name, f] of Object.entries({
          sqrtm: linalg.sqrtm,
          invSqrtm: linalg.invSqrtm,
          logm: linalg.logm,
          expmSymmetric: linalg.expmSymmetric,
          polarU: (a: Tensor) => linalg.polar(a).u,
          polarP: (a: Tensor) => linalg.polar(a).p,
          pinv: (a: Tensor) => linalg.pinv(a),
        })) {
          const g = (x: Tensor) => weighed(f(base.add(name.startsWith("polar") ? x : symmetric(x))));
          await checkSlope(backend, `${name}, gap ${gap}`, g, [still(4)]);
        }
      }
    });

    test("empty matrices have empty gradients, batches of none too", async () => {
      const backend = await makeBackend();
      for (const dims of [
        [0, 0],
        [0, 3, 3],
        [2, 0, 0],
      ]) {
        const functions: Record<string, (x: Tensor) => Tensor> = {
          cholesky: linalg.cholesky,
          lu: (x) => linalg.lu(x).l.add(linalg.lu(x).u),
          qr: (x) => linalg.qr(x).q.matmul(linalg.qr(x, { mode: "full" }).r),
          qrPivoted: (x) => linalg.qrPivoted(x).q,
          eigh: (x) => linalg.eigh(x).vectors,
          svd: (x) => linalg.svd(x).u.matmul(linalg.svd(x, { full: true }).vt),
          singularValues: linalg.singularValues,
          inverse: linalg.inverse,
          det: linalg.det,
          slogdet: (x) => linalg.slogdet(x).logAbsDet,
          logdet: linalg.logdet,
          pinv: linalg.pinv,
          lstsq: (x) => linalg.lstsq(x, x).x,
          sqrtm: linalg.sqrtm,
          logm: linalg.logm,
          expm: linalg.expm,
          polar: (x) => linalg.polar(x).u.add(linalg.polar(x).p),
          newtonSchulz: linalg.newtonSchulz,
        };
        for (const f of Object.values(functions)) {
          const x = fromHost("f64", dims, new Float64Array(0));
          const [g] = await runOn(backend, () => gradients(f(x).sum(), [x]));
          expect(g!.dims).toEqual(dims);
        }
      }
      for (const dims of [
        [0, 3],
        [3, 0],
        [2, 0, 2],
      ]) {
        for (const f of [
          (x: Tensor) =>
            linalg
              .qr(x)
              .r.sum()
              .add(linalg.qr(x, { mode: "full" }).q.sum()),
          (x: Tensor) =>
            linalg
              .svd(x)
              .vt.sum()
              .add(linalg.svd(x, { full: true }).u.sum()),
          (x: Tensor) => linalg.qrPivoted(x).r.sum(),
          (x: Tensor) => linalg.lu(x).u.sum(),
          (x: Tensor) => linalg.pinv(x).sum(),
          (x: Tensor) => linalg.polar(x).p.sum(),
        ]) {
          const x = fromHost("f64", dims, new Float64Array(0));
          const [g] = await runOn(backend, () => gradients(f(x), [x]));
          expect(g!.dims).toEqual(dims);
        }
      }
    });

    test("gradients in f32 are those in f64 up to rounding", async () => {
      const backend = await makeBackend();
      const functions: Record<string, (x: Tensor) => Tensor> = {
        cholesky: (x) => linalg.cholesky(positive(x)),
        lu: (x) => linalg.lu(away(x)).u,
        qr: (x) => linalg.qr(x).q,
        eigh: (x) => linalg.eigh(symmetric(x)).vectors.square(),
        svd: (x) => linalg.svd(x).u.square(),
        solve: (x) => linalg.solve(away(x), x),
        det: linalg.det,
        logdet: (x) => linalg.logdet(positive(x)),
        pinv: (x) => linalg.pinv(away(x)),
        lstsq: (x) => linalg.lstsq(away(x), x).x,
        sqrtm: (x) => linalg.sqrtm(positive(x)),
        logm: (x) => linalg.logm(positive(x)),
        expm: linalg.expm,
        polar: (x) => linalg.polar(away(x)).u,
        newtonSchulz: linalg.newtonSchulz,
      };
      const { dims, data } = drawn([2, 5, 5], 41);
      for (const [name, f] of Object.entries(functions)) {
        const slope = async (dtype: "f32" | "f64") =>
          (
            await runOn(backend, () => {
              const x = tensor(data, { shape: dims, dtype });
              const y = f(x);
              return gradients(y.mul(weights(y.shape, 5).astype(dtype)).sum(), [x]);
            })
          )[0]!;
        const [low, high] = [await slope("f32"), await slope("f64")];
        expect([low.dtype, high.dtype]).toEqual(["f32", "f64"]);
        const largest = Math.max(...Array.from(high.data, Math.abs));
        for (const [i, want] of Array.from(high.data).entries())
          if (!(Math.abs(low.data[i]! - want) <= 2e-4 * largest))
            expect.fail(
              `${name}, element ${i}: f32 gives ${low.data[i]}, f64 ${want}, the largest is ${largest}`,
            );
      }
    });

    test("the gradient of slogdet refuses a singular matrix", async () => {
      const error = await fault(await makeBackend(), () => {
        const x = tensor(
          [
            [1, 2],
            [2, 4],
          ],
          { dtype: "f64" },
        );
        return gradients(linalg.slogdet(x).logAbsDet, [x])[0]!;
      });
      expect(error.message).toContain(
        "gradient of slogdet: expected a matrix that can be inverted, got a zero at pivot 1",
      );
    });

    test("det at singular matrices, of rank n - 1 and below", async () => {
      const backend = await makeBackend();
      for (const values of [
        [1, 2, 0],
        [1, 0, 0],
        [0, 0, 0],
      ])
        await checkSlope(backend, `det of ${values}`, (x) => linalg.det(diagonal(values).add(x)), [still(3)]);
    });
  });
}
