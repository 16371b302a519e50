import { type Backend, eye, gradients, norm, setDefaultBackend, type Tensor, zeros } from "@lowrank/tensor";
import { describe, expect, test } from "vitest";
import {
  bestRank,
  cholesky,
  inverse,
  singularValues,
  svd,
  truncatedSvd,
  reconstruct,
  whitenedSvd,
} from "../../src/index.js";
import { expectClose, numbers } from "./expect-close.js";
import { drawn } from "./factorisation-gradients.js";
import { checkSlope, weighed, weights } from "./gradient.js";
import { fault } from "./refusals.js";

const w = (): Tensor => weights([5, 6], 1);
/** Inputs [tokens, 6] whose features differ in size. */
const inputs = (tokens: number): Tensor => weights([tokens, 6], 2).mul(weights([6], 3).mul(3).exp());

/** Weights cut so that outputs, not weights, are near. */
export function activationSuite(makeBackend: () => Promise<Backend>): void {
  const ready = async (): Promise<Backend> => {
    const backend = await makeBackend();
    setDefaultBackend(backend);
    return backend;
  };

  describe("whitened svd", () => {
    test("the error of the outputs is the root of the squares cut off, from activations and from their Gram matrix", async () => {
      const backend = await ready();
      for (let rank = 1; rank <= 5; rank++) {
        await expectClose(
          backend,
          `whitenedSvd ${rank}`,
          () => {
            const x = inputs(20);
            const byInputs = whitenedSvd(w(), { activations: x, rank });
            const byGram = whitenedSvd(w(), { gram: x.T.matmul(x), rank });
            const outputs = (a: Tensor) => a.matmul(x.T);
            const near = byInputs.left.matmul(byInputs.right);
            return [
              [norm(outputs(w().sub(near))), byInputs.error],
              [outputs(near), bestRank(outputs(w()), rank)],
              [byInputs.s, singularValues(outputs(w()))],
              [byGram.left.matmul(byGram.right), near],
              [byGram.error, byInputs.error],
            ];
          },
          1e-10,
        );
      }
    });

    test("equals the SVD of w L undone by L⁻¹, L Cholesky's factor of the Gram matrix", async () => {
      const backend = await ready();
      await expectClose(
        backend,
        "Cholesky's road",
        () => {
          const x = inputs(20);
          const L = cholesky(x.T.matmul(x));
          const { left, right } = whitenedSvd(w(), { activations: x, rank: 2 });
          return [
            [left.matmul(right), reconstruct(truncatedSvd(w().matmul(L), { rank: 2 })).matmul(inverse(L))],
          ];
        },
        1e-9,
      );
    });

    test("a diagonal Gram matrix scales the inputs: the SVD of w D undone by D⁻¹", async () => {
      const backend = await ready();
      await expectClose(backend, "ASVD", () => {
        const d = weights([6], 8).exp();
        const gram = eye(6, 6, { dtype: "f64" }).mul(d.square());
        const { left, right } = whitenedSvd(w(), { gram, rank: 2 });
        return [[left.matmul(right), bestRank(w().mul(d), 2).div(d)]];
      });
    });

    test("a singular Gram matrix is no obstacle: with fewer tokens than rank the outputs are exact", async () => {
      const backend = await ready();
      await expectClose(
        backend,
        "three tokens",
        () => {
          const x = inputs(3);
          const byInputs = whitenedSvd(w(), { activations: x, rank: 3 });
          const byGram = whitenedSvd(w(), { gram: x.T.matmul(x), rank: 3 });
          const outputs = w().matmul(x.T);
          return [
            [byInputs.left.matmul(byInputs.right).matmul(x.T), outputs],
            [byGram.left.matmul(byGram.right).matmul(x.T), outputs],
            [byInputs.error, zeros([], { dtype: "f64" })],
          ];
        },
        1e-7,
      );
      const [plain, white] = await numbers(backend, () => {
        const x = inputs(20);
        const { error } = whitenedSvd(w(), { activations: x, rank: 2 });
        return [norm(w().sub(bestRank(w(), 2)).matmul(x.T)), error];
      });
      expect(white![0]).toBeLessThan(plain![0]! * 0.9);
    });

    test("energy and tolerance choose the rank from the values of the outputs; batches work", async () => {
      const backend = await ready();
      const s = (await numbers(backend, () => [svd(w().matmul(inputs(20).T)).s]))[0]!;
      const total = s.reduce((a, b) => a + b * b, 0);
      const half = await whitenedSvd(w(), {
        activations: inputs(20),
        energy: (s[0]! ** 2 + s[1]! ** 2 / 2) / total,
      });
      expect([half.left.shape, half.right.shape]).toEqual([
        [5, 2],
        [2, 6],
      ]);
      const tolerance = (s[2]! + s[3]!) / 2 / s[0]!;
      expect((await whitenedSvd(w(), { activations: inputs(20), tolerance })).left.shape).toEqual([5, 3]);
      const batch = whitenedSvd(weights([2, 5, 6], 4), { activations: weights([2, 9, 6], 5), rank: 2 });
      expect([batch.left.shape, batch.right.shape, batch.error.shape]).toEqual([[2, 5, 2], [2, 2, 6], [2]]);
    });

    test("gradients of the product agree with differences", async () => {
      const backend = await ready();
      const product = (a: Tensor, x: Tensor) => {
        const { left, right, error } = whitenedSvd(a, { activations: x, rank: 2 });
        return weighed(left.matmul(right)).add(error);
      };
      await checkSlope(backend, "whitenedSvd", product, [drawn([4, 3], 1), drawn([7, 3], 2)], { atol: 1e-6 });
      const [zero] = await numbers(backend, () => {
        const a = w();
        return [
          gradients(whitenedSvd(a, { activations: zeros([4, 6], { dtype: "f64" }), rank: 2 }).error, [a])[0]!,
        ];
      });
      expect(zero!.every(Number.isFinite)).toBe(true);
    });

    test("refuses what it can not use", async () => {
      const backend = await ready();
      const call = (options: object) => () => whitenedSvd(w(), options as { gram: Tensor; rank: number });
      expect(call({ rank: 2 })).toThrow("whitenedSvd: expected one of gram and activations, got none");
      expect(call({ gram: w(), activations: w(), rank: 2 })).toThrow("got both");
      expect(call({ activations: w().T, rank: 2 })).toThrow("expected activations of shape [.., tokens, 6]");
      expect(call({ activations: w(), rank: 6 })).toThrow("rank to be an integer from 1 to 5, got 6");
      expect(call({ activations: w(), energy: 2 })).toThrow("energy above 0, up to 1, got 2");
      const negative = await fault(backend, () => {
        const x = inputs(20);
        return whitenedSvd(w(), { gram: x.T.matmul(x).neg(), rank: 2 }).left;
      });
      expect([negative.code, negative.reason]).toEqual(["LOWRANK_NUMERICAL", "notPositiveDefinite"]);
      expect(negative.message).toContain("whitenedSvd: expected a positive semidefinite matrix");
    });
  });
}
