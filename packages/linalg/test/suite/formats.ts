import { type Backend, eye, key, norm, setDefaultBackend, type Tensor, tensor, zeros } from "@lowrank/tensor";
import { describe, expect, test } from "vitest";
import {
  bestRank,
  cholesky,
  choleskySolve,
  cpAls,
  hooi,
  hosvd,
  khatriRao,
  kronSvd,
  modeProduct,
  stHosvd,
  tensorTrain,
  tucker2,
  unfold,
} from "../../src/index.js";
import { expectClose, numbers } from "./expect-close.js";
import { drawn } from "./factorisation-gradients.js";
import { checkSlope, weighed, weights } from "./gradient.js";
import { DIMS } from "./falling.js";

const f64 = { dtype: "f64" } as const;

/** CP; gradients and refusals of all formats. */
export function formatSuite(makeBackend: () => Promise<Backend>): void {
  const ready = async (): Promise<Backend> => {
    const backend = await makeBackend();
    setDefaultBackend(backend);
    return backend;
  };

  describe("formats", () => {
    test("cpAls finds the terms of a tensor of low rank again", async () => {
      const backend = await ready();
      const parts = () => [weights([5, 3], 1), weights([4, 3], 2), weights([6, 3], 3)];
      const x = () => {
        const [a, b, c] = parts() as [Tensor, Tensor, Tensor];
        return a.matmul(khatriRao([b, c]).T).reshape([5, 4, 6]);
      };
      const fit = await cpAls(x(), { rank: 3, key: key(1), ridge: 1e-13 });
      const [[size], [error], w] = (await numbers(backend, () => [
        norm(x()),
        fit.error(x()),
        fit.weights,
      ])) as [[number], [number], number[]];
      expect(error).toBeLessThan(1e-5 * size);
      expect(error).toBeCloseTo(fit.errors[fit.errors.length - 1]!, 10);
      expect([...w].sort((a, b) => b - a)).toEqual(w);
      // Every term is one of those that were put in, up to scale: cosines are those of a permutation.
      const cosines = await numbers(backend, () =>
        parts().map((a, j) => a.div(norm(a, 0)).T.matmul(fit.factors[j]!).abs()),
      );
      for (const c of cosines)
        for (let i = 0; i < 3; i++) expect(Math.max(...c.slice(3 * i, 3 * i + 3))).toBeGreaterThan(1 - 1e-6);
      await expectClose(backend, "columns of length 1", () =>
        fit.factors.map((a): [Tensor, Tensor] => [norm(a, 0), tensor([1, 1, 1], f64)]),
      );
    });

    test("cpAls: the others known, a factor is one solve away; the error does not rise; rank 1 of a matrix is its best", async () => {
      const backend = await ready();
      await expectClose(backend, "one solve", () => {
        const [a, b, c] = [weights([5, 3], 1), weights([4, 3], 2), weights([6, 3], 3)];
        const others = khatriRao([b, c]);
        const x = a.matmul(others.T).reshape([5, 4, 6]);
        const gram = b.T.matmul(b).mul(c.T.matmul(c));
        return [
          [others.T.matmul(others), gram],
          [choleskySolve(cholesky(gram), others.T.matmul(unfold(x, 0).T)).T, a],
        ];
      });
      const fit = await cpAls(weights([4, 3, 3], 7), {
        rank: 2,
        key: key(4),
        restarts: 1,
        iterations: 40,
        tolerance: 0,
      });
      for (let i = 1; i < fit.errors.length; i++)
        expect(fit.errors[i]).toBeLessThanOrEqual(fit.errors[i - 1]! + 1e-8);
      const matrix = await cpAls(weights([6, 5], 3), { rank: 1, key: key(2), tolerance: 1e-14 });
      await expectClose(
        backend,
        "rank 1",
        () => [[matrix.reconstruct(), bestRank(weights([6, 5], 3), 1)]],
        1e-5,
      );
      const again = await cpAls(weights([6, 5], 3), { rank: 1, key: key(2), tolerance: 1e-14 });
      expect(again.errors).toEqual(matrix.errors);
      const nothing = await cpAls(zeros([3, 2, 2], f64), { rank: 2, key: key(0) });
      expect(nothing.errors).toEqual([0]);
    });

    test("gradients of lazy formats agree with differences", async () => {
      const backend = await ready();
      const cut: Record<string, (x: Tensor) => Tensor> = {
        hosvd: (x) => hosvd(x, { ranks: [2, 1, 2] }).reconstruct(),
        stHosvd: (x) => stHosvd(x, { ranks: [2, null, 2] }).reconstruct(),
        tensorTrain: (x) => tensorTrain(x, { ranks: [2, 2] }).reconstruct(),
        kronSvd: (x) => kronSvd(x.reshape([4, 6]), { shape: [2, 3], rank: 2 }).reconstruct(),
      };
      for (const [name, f] of Object.entries(cut))
        await checkSlope(backend, name, (x) => weighed(f(x)), [drawn([3, 2, 4], 6)], { atol: 1e-6 });
    });

    test("numbers that are not finite are refused in the name of the format", async () => {
      await ready();
      const bad = () => weights(DIMS, 1).add(tensor([0, 0, Number.NaN], f64).mul(eye(5, 3, f64)));
      const cp = cpAls(bad(), { rank: 1, key: key(0) });
      await expect(cp).rejects.toThrow("cpAls: expected finite numbers, got NaN at [0, 0, 2]");
      await expect(cp).rejects.toMatchObject({
        code: "LOWRANK_NUMERICAL",
        reason: "notFinite",
        index: [0, 0, 2],
      });
      await expect(hosvd(bad(), { tolerance: 0.1 })).rejects.toThrow(
        "hosvd: expected finite numbers, got NaN",
      );
      await expect(hooi(bad(), { ranks: [1, 1, 1] })).rejects.toThrow(
        "hooi: expected finite numbers, got NaN",
      );
      await expect(tensorTrain(bad(), { tolerance: 0.1 })).rejects.toThrow(
        "tensorTrain: expected finite numbers, got NaN",
      );
      const kronecker = kronSvd(weights([4, 4], 1).mul(Number.NaN), { shape: [2, 2], energy: 0.5 });
      await expect(kronecker).rejects.toThrow("kronSvd: expected finite numbers, got NaN at [0, 0]");
    });

    test("ranks, modes, tolerances and shapes out of range are refused", async () => {
      await ready();
      const x = weights(DIMS, 1);
      const bad = (f: (given: never) => unknown, given: object) => () => f(given as never);
      expect(bad((g) => hosvd(x, g), { ranks: [2, 2] })).toThrow(
        "hosvd: expected 3 ranks, one for each mode, got 2",
      );
      expect(bad((g) => hosvd(x, g), { ranks: [5, 2, 2] })).toThrow(
        "hosvd: expected rank 0 to be an integer from 1 to 4, got 5",
      );
      expect(bad((g) => hosvd(x, g), {})).toThrow("hosvd: expected one of ranks and tolerance, got none");
      expect(bad((g) => stHosvd(x, g), { ranks: [1, 1, 1], tolerance: 1 })).toThrow("got both");
      expect(bad((g) => stHosvd(x, g), { tolerance: -1 })).toThrow("tolerance to be a number ≥ 0, got -1");
      expect(bad((g) => stHosvd(x, g), { tolerance: 1, modes: [0, 0] })).toThrow(
        "distinct modes from 0 to 2, got [0, 0]",
      );
      await expect(hooi(x, { ranks: [4, 1, 1] })).rejects.toThrow(
        "rank 0, beside the others, to be an integer from 1 to 1, got 4",
      );
      expect(bad((g) => tucker2(x, g), { ranks: [5, 1] })).toThrow(
        "rank 0 to be an integer from 1 to 4, got 5",
      );
      expect(bad((g) => tensorTrain(x, g), { ranks: [2] })).toThrow(
        "tensorTrain: expected 2 ranks, one for each bond, got 1",
      );
      expect(bad((g) => tensorTrain(x, g), { ranks: [5, 2] })).toThrow(
        "rank 0 to be an integer from 1 to 4, got 5",
      );
      expect(bad((g) => kronSvd(weights([6, 8], 1), g), { shape: [4, 2], rank: 1 })).toThrow(
        "kronSvd: expected a shape [m, n] with m dividing 6 and n dividing 8, got [4, 2]",
      );
      expect(bad((g) => kronSvd(weights([6, 8], 1), g), { shape: [3, 2], rank: 7 })).toThrow(
        "rank to be an integer from 1 to 6, got 7",
      );
      await expect(cpAls(x, { rank: 0, key: key(0) })).rejects.toThrow(
        "cpAls: expected rank to be an integer ≥ 1, got 0",
      );
      await expect(cpAls(x, { rank: 1 } as never)).rejects.toThrow("cpAls: expected a key of random numbers");
      expect(() => unfold(x, 3)).toThrow("unfold: expected a mode from 0 to 2, got 3");
      expect(() => modeProduct(x, weights([2, 3], 1), 0)).toThrow(
        "modeProduct: expected a matrix [r, 4] for mode 0",
      );
      expect(() => khatriRao([weights([2, 3], 1), weights([2, 2], 1)])).toThrow(
        "khatriRao: expected matrices [n_i, r] of one r, got [2, 3], [2, 2]",
      );
      expect(() => hosvd(tensor([1, 2], { dtype: "i32" }), { ranks: [1] })).toThrow(
        "hosvd: expected x of a float dtype, got i32",
      );
    });
  });
}
