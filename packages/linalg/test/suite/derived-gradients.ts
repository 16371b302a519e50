import { type Backend, eye, type Tensor, tensor } from "@lowrank/tensor";
import { describe, test } from "vitest";
import * as linalg from "../../src/index.js";
import { drawn, positive, symmetric } from "./factorisation-gradients.js";
import { checkSlope, type Slope, weighed } from "./gradient.js";

/** 4 I + x: far from singular for elements in [-1, 1). */
const away = (x: Tensor): Tensor => x.add(eye(x.shape[x.ndim - 1]!, undefined, { dtype: "f64" }).mul(4));

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
