import {
  type Backend,
  evaluate,
  eye,
  fromHost,
  setDefaultBackend,
  slice,
  type Tensor,
} from "@lowrank/tensor";
import { wasm } from "@lowrank/backend-wasm";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import {
  cholesky,
  eigh,
  eigvalsh,
  inverse,
  lu,
  qr,
  qrPivoted,
  singularValues,
  solve,
  svd,
  triangularSolve,
} from "../src/index.js";
import { FAMILIES, type Matrix, POSITIVE, SYMMETRIC } from "./suite/families.js";
import { EPS, type Real } from "./suite/measure.js";

// Sizes at which blocks, panels and threads matter. Products that check are of f64, by the same backend.

const REALS: readonly Real[] = ["f64", "f32"];
const wide = (x: Tensor): Tensor => (x.dtype === "f64" ? x : x.astype("f64"));
const made = ({ m, n, data }: Matrix, dtype: Real): Tensor =>
  fromHost(dtype, [m, n], dtype === "f64" ? data : Float32Array.from(data));

async function norm(x: Tensor): Promise<number> {
  return Math.sqrt((await wide(x).square().sum().data())[0]!);
}

/** ‖got - want‖ ≤ 20 n eps ‖want‖ */
async function expectNear(what: string, got: Tensor, want: Tensor, n: number, eps: number): Promise<void> {
  const error = await norm(wide(got).sub(wide(want)));
  const bound = 20 * n * eps * (await norm(want));
  if (!(error <= bound)) expect.fail(`${what}: error ${error}, allowed ${bound}`);
}

const expectOrthonormal = (what: string, q: Tensor, n: number, eps: number): Promise<void> => {
  const x = wide(q);
  return expectNear(what, x.T.matmul(x), eye(q.shape[1]!, undefined, { dtype: "f64" }), n, eps);
};

/** Values of two ways agree to 10 eps of the largest. */
async function expectSame(what: string, x: Tensor, y: Tensor, eps: number): Promise<void> {
  const most = (await wide(x).abs().max().data())[0]!;
  const error = (await wide(x).sub(wide(y)).abs().max().data())[0]!;
  expect(error, what).toBeLessThanOrEqual(10 * eps * most);
}

describe("large matrices on wasm", () => {
  let backend: Backend;
  beforeAll(async () => {
    backend = await wasm({ threads: 2 });
    setDefaultBackend(backend);
  });
  afterAll(() => backend.dispose());

  test("cholesky and triangularSolve", async () => {
    for (const dtype of REALS) {
      for (const n of [64, 65, 200, 513, 1024]) {
        const a = made(POSITIVE[n > 600 ? "minimum" : "random"]!(n), dtype);
        const L = cholesky(a);
        await evaluate(L);
        await expectNear(`cholesky ${n} ${dtype}`, wide(L).matmul(wide(L).T), a, n, EPS[dtype]);
        for (const [transpose, left] of [
          [false, true],
          [true, true],
          [false, false],
          [true, false],
        ]) {
          const b = made(FAMILIES["random"]!(left ? n : 131, left ? 131 : n), dtype);
          const x = wide(triangularSolve(L, b, { transpose: transpose!, left: left! }));
          const op = transpose ? wide(L).T : wide(L);
          const back = left ? op.matmul(x) : x.matmul(op);
          const scale = (await norm(op)) * (await norm(x));
          const error = await norm(back.sub(wide(b)));
          expect(error, `triangularSolve ${n} ${dtype}`).toBeLessThanOrEqual(20 * n * EPS[dtype] * scale);
        }
      }
    }
  });

  test("lu, solve and inverse", async () => {
    for (const dtype of REALS) {
      for (const [m, n] of [
        [64, 64],
        [200, 200],
        [1024, 1024],
        [700, 130],
        [130, 700],
      ] as const) {
        const a = made(FAMILIES["random"]!(m, n), dtype);
        const { l, u, p } = lu(a);
        await evaluate(l, u, p);
        const order = await p.data();
        const values = await a.data();
        const rows = new Float64Array(m * n);
        for (let i = 0; i < m; i++) for (let j = 0; j < n; j++) rows[i * n + j] = values[order[i]! * n + j]!;
        const permuted = fromHost("f64", [m, n], rows);
        await expectNear(
          `lu ${m} ${n} ${dtype}`,
          wide(l).matmul(wide(u)),
          permuted,
          Math.max(m, n),
          EPS[dtype],
        );
        expect(Math.max(...(await l.abs().max().data()))).toBeLessThanOrEqual(1);
        if (m !== n) continue;
        const b = made(FAMILIES["random"]!(n, 7), dtype);
        const x = solve(a, b);
        const error = await norm(wide(a).matmul(wide(x)).sub(wide(b)));
        const scale = (await norm(a)) * (await norm(x));
        expect(error).toBeLessThanOrEqual(20 * n * EPS[dtype] * scale);
        const inverted = wide(inverse(a));
        const off = await norm(
          wide(a)
            .matmul(inverted)
            .sub(eye(n, undefined, { dtype: "f64" })),
        );
        expect(off).toBeLessThanOrEqual(20 * n * EPS[dtype] * (await norm(a)) * (await norm(inverted)));
      }
    }
  });

  test("qr and qrPivoted", async () => {
    for (const dtype of REALS) {
      for (const [m, n] of [
        [64, 64],
        [1024, 1024],
        [700, 130],
        [130, 700],
        [257, 256],
      ] as const) {
        for (const family of ["random", "graded", "rankDeficient", "kahan"]) {
          const what = `${m} ${n} ${family} ${dtype}`;
          const a = made(FAMILIES[family]!(m, n), dtype);
          const most = Math.max(m, n);
          const { q, r } = qr(a, { mode: m > 512 ? "thin" : "full" });
          await evaluate(q, r);
          await expectNear(`qr ${what}`, wide(q).matmul(wide(r)), a, most, EPS[dtype]);
          await expectOrthonormal(`q ${what}`, q, most, EPS[dtype]);
          if (m * n > 500_000 && family !== "random") continue;
          const pivoted = qrPivoted(a);
          await evaluate(pivoted.q, pivoted.r, pivoted.p);
          const product = await wide(pivoted.q).matmul(wide(pivoted.r)).data();
          const order = await pivoted.p.data();
          const back = new Float64Array(m * n);
          for (let i = 0; i < m; i++)
            for (let j = 0; j < n; j++) back[i * n + order[j]!] = product[i * n + j]!;
          await expectNear(`qrPivoted ${what}`, fromHost("f64", [m, n], back), a, most, EPS[dtype]);
          await expectOrthonormal(`q of qrPivoted ${what}`, pivoted.q, most, EPS[dtype]);
        }
      }
    }
  });

  const GRADES = ["random", "graded", "rankDeficient", "hilbert", "diagonal", "zero", "identity", "ones"];

  test("eigh: all of it up to 20 n eps, values alone the same", async () => {
    for (const dtype of REALS) {
      for (const n of [33, 130, 513, 1024]) {
        for (const family of GRADES) {
          if (n === 1024 && family !== "random") continue;
          const make = SYMMETRIC[family];
          if (!make) continue;
          const what = `eigh ${n} ${family} ${dtype}`;
          const a = made(make(n), dtype);
          const { values, vectors } = eigh(a);
          const alone = eigvalsh(a);
          await evaluate(values, vectors, alone);
          const [V, w] = [wide(vectors), wide(values)];
          await expectNear(what, V.mul(w).matmul(V.T), a, n, EPS[dtype]);
          await expectOrthonormal(what, vectors, n, EPS[dtype]);
          await expectSame(what, values, alone, EPS[dtype]);
        }
      }
    }
  });

  test("svd: all of it up to 20 n eps, values alone the same", async () => {
    for (const dtype of REALS) {
      for (const [m, n] of [
        [33, 33],
        [130, 130],
        [513, 513],
        [1024, 1024],
        [700, 130],
        [130, 700],
        [200, 150],
        [666, 333],
      ] as const) {
        for (const family of [...GRADES, "gradedBoth", "kahan"]) {
          if (m * n > 500_000 && family !== "random") continue;
          if (m === 666 && !["ones", "rankDeficient"].includes(family)) continue; // much of R is zeros
          const what = `svd ${m} ${n} ${family} ${dtype}`;
          const a = made(FAMILIES[family]!(m, n), dtype);
          const { u, s, vt } = svd(a, { full: m * n === 700 * 130 && family === "random" });
          const alone = singularValues(a);
          await evaluate(u, s, vt, alone);
          const k = Math.min(m, n);
          const most = Math.max(m, n);
          const left = slice(wide(u), [null, [0, k]]).mul(wide(s));
          await expectNear(what, left.matmul(slice(wide(vt), [[0, k]])), a, most, EPS[dtype]);
          await expectOrthonormal(`u of ${what}`, u, most, EPS[dtype]);
          await expectOrthonormal(`v of ${what}`, vt.T, most, EPS[dtype]);
          await expectSame(what, s, alone, EPS[dtype]);
        }
      }
    }
  });
});

test("a batch larger than there is room for at once gives what its matrices give one by one, and the first fault", async () => {
  const backend = await wasm({ threads: 2 });
  setDefaultBackend(backend);
  const [count, n] = [150, 100];
  const data = FAMILIES["random"]!(count * n, n).data;
  const all = fromHost("f64", [count, n, n], data);
  const { u, s, vt } = svd(all);
  const w = eigh(all, { assumeSymmetric: true }).values;
  await evaluate(u, s, vt, w);
  for (const b of [0, 68, 69, 70, 149]) {
    const one = fromHost("f64", [n, n], data.slice(b * n * n, (b + 1) * n * n));
    const alone = svd(one);
    const expected = [alone.u, alone.s, alone.vt, eigh(one, { assumeSymmetric: true }).values];
    for (const [i, x] of [u, s, vt, w].entries())
      expect(Array.from(await x.slice([[b, b + 1]]).data())).toEqual(Array.from(await expected[i]!.data()));
  }
  const odd = data.slice();
  odd[140 * n * n + 3 * n + 5] = Number.NaN;
  odd[120 * n * n + 7] = Number.POSITIVE_INFINITY;
  await expect(evaluate(svd(fromHost("f64", [count, n, n], odd)).s)).rejects.toThrow(
    "svd: expected finite numbers, got Infinity at [0, 7] of matrix [120]",
  );
  await backend.dispose();
});

test("threads that look at parts of a matrix find what one finds", async () => {
  const backend = await wasm({ threads: 2 });
  setDefaultBackend(backend);
  const n = 601;
  const expectFault = async (changes: readonly (readonly [number, number, number])[], message: string) => {
    for (const dtype of REALS) {
      const data = new Float64Array(2 * n * n);
      for (let i = 0; i < 2 * n; i++) data[i * n + (i % n)] = 1;
      for (const [i, j, value] of changes) data[n * n + i * n + j] = value;
      const a = fromHost(dtype, [2, n, n], dtype === "f64" ? data : Float32Array.from(data));
      await expect(evaluate(cholesky(a))).rejects.toThrow(`cholesky: expected ${message}`);
    }
  };
  const [nan, infinite] = [Number.NaN, Number.POSITIVE_INFINITY];
  await expectFault([[600, 2, nan]], "finite numbers, got NaN at [600, 2] of matrix [1]");
  await expectFault(
    [
      [599, 2, nan],
      [70, 590, infinite],
      [20, 3, 9],
    ],
    "finite numbers, got Infinity at [70, 590] of matrix [1]",
  );
  const asymmetric = "a symmetric matrix, got elements";
  await expectFault([[600, 599, 0.5]], `${asymmetric} [600, 599] and [599, 600] of matrix [1]`);
  await expectFault([[1, 64, 0.5]], `${asymmetric} [64, 1] and [1, 64] of matrix [1]`);
  await expectFault(
    [
      [20, 10, 0.25],
      [303, 302, 0.5],
      [500, 3, -0.5],
    ],
    `${asymmetric} [303, 302] and [302, 303] of matrix [1] that differ by 0.5`,
  );
  await expectFault([[256, 256, -2]], "a positive definite matrix, got pivot 256 of matrix [1] equal to -2");
  await backend.dispose();
});

test("one thread, two and three give the same bits", async () => {
  const results: Record<string, number[]>[] = [];
  for (const threads of [1, 2, 3]) {
    const backend = await wasm({ threads });
    setDefaultBackend(backend);
    const result: Record<string, number[]> = {};
    for (const dtype of REALS) {
      const a = made(FAMILIES["random"]!(300, 300), dtype);
      const parts: Record<string, Tensor> = {
        cholesky: cholesky(made(POSITIVE["random"]!(600), dtype)),
        solve: solve(a, made(FAMILIES["random"]!(300, 5), dtype)),
        ...qr(a),
        ...eigh(made(SYMMETRIC["random"]!(300), dtype)),
        ...svd(a),
      };
      for (const [name, x] of Object.entries(parts)) result[`${name} ${dtype}`] = Array.from(await x.data());
    }
    results.push(result);
    await backend.dispose();
  }
  expect(results[1]).toEqual(results[0]);
  expect(results[2]).toEqual(results[0]);
});
