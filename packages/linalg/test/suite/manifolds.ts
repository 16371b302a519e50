import {
  type Backend,
  cos,
  norm,
  setDefaultBackend,
  sin,
  sum,
  type Tensor,
  tensor,
  zeros,
} from "@lowrank/tensor";
import { describe, expect, test } from "vitest";
import {
  bestRank,
  fixedRank,
  type FixedRankTangent,
  grassmann,
  numericalRank,
  principalAngles,
  qr,
  reconstruct,
  singularValues,
  stiefel,
  svd,
  truncatedSvd,
} from "../../src/index.js";
import { expectClose, numbers } from "./expect-close.js";
import { drawn } from "./factorisation-gradients.js";
import { checkSlope, weighed, weights } from "./gradient.js";
import { orderOf } from "./order.js";
import { point, type Retraction, RETRACTIONS, unitOf } from "./points.js";

const f64 = { dtype: "f64" } as const;

/** Grassmann and fixed-rank manifolds; descent, gradients and refusals of all. */
export function manifoldSuite(makeBackend: () => Promise<Backend>): void {
  const ready = async (): Promise<Backend> => {
    const backend = await makeBackend();
    setDefaultBackend(backend);
    return backend;
  };

  describe("manifolds", () => {
    test("grassmann: exp is cos and sin of the principal angles, log undoes it, transport keeps lengths and the velocity", async () => {
      const backend = await ready();
      for (const dims of [
        [6, 2],
        [5, 4],
        [3, 1],
        [2, 7, 3],
      ])
        await expectClose(
          backend,
          `grassmann ${dims}`,
          () => {
            const x = point(dims);
            const [xi, eta] = [
              grassmann.project(x, weights(dims, 4)).mul(0.6),
              grassmann.project(x, weights(dims, 5)),
            ];
            const { u, s, vt } = svd(xi);
            const row = (d: Tensor) => d.reshape([...d.shape.slice(0, -1), 1, d.shape[d.ndim - 1]!]);
            const y = grassmann.exp(x, xi);
            const end = x
              .matmul(vt.T)
              .mul(row(cos(s)))
              .add(u.mul(row(sin(s))))
              .matmul(vt);
            const moved = grassmann.transport(x, xi, eta);
            const own = grassmann.transport(x, xi, xi);
            const h = 1e-3;
            const at = (t: number) => grassmann.exp(x, xi.mul(1 + t * h));
            const velocity = at(-2)
              .sub(at(-1).mul(8))
              .add(at(1).mul(8))
              .sub(at(2))
              .div(12 * h);
            const none = zeros(x.T.matmul(x).shape, f64);
            const turn = point([dims[dims.length - 1]!, dims[dims.length - 1]!], 8);
            const inOrder = (d: Tensor) =>
              d.slice([...d.shape.slice(0, -1).map(() => null), [null, null, -1]]);
            return [
              [y, end],
              [y.T.matmul(y), unitOf(y)],
              [x.T.matmul(xi), none],
              [inOrder(principalAngles(x, y)), s],
              [grassmann.log(x, y), xi],
              [grassmann.log(x, y.matmul(turn)), xi],
              [y.T.matmul(moved), none],
              [moved.T.matmul(own), eta.T.matmul(xi)],
              [own, velocity],
              [grassmann.exp(x.matmul(turn), xi.matmul(turn)), y.matmul(turn)],
            ];
          },
          1e-10,
        );
      const x = () => point([6, 2]);
      const xi = () => grassmann.project(x(), weights([6, 2], 4));
      expect(
        await orderOf(backend, (t) => grassmann.retract(x(), xi().mul(t)).sub(x()).sub(xi().mul(t))),
      ).toBeGreaterThan(1.9);
      // The end of a geodesic of length s is at distance s, and no other way is shorter.
      const [length, distance] = await numbers(backend, () => [
        norm(singularValues(xi().mul(0.5))),
        norm(principalAngles(x(), grassmann.exp(x(), xi().mul(0.5)))),
      ]);
      expect(distance![0]).toBeCloseTo(length![0]!, 12);
    });

    test("fixedRank: project is orthogonal and idempotent, by factors too; retract is the nearest of that rank", async () => {
      const backend = await ready();
      for (const dims of [
        [7, 5],
        [2, 4, 6],
        [3, 3],
      ]) {
        const x = () => truncatedSvd(weights(dims, 1), { rank: 2 });
        const full = (t: FixedRankTangent) => {
          const { left, right } = fixedRank.embed(x(), t);
          return left.matmul(right);
        };
        await expectClose(backend, `fixedRank ${dims}`, () => {
          const { u, vt } = x();
          const [m, n] = dims.slice(-2) as [number, number];
          const lead = dims.slice(0, -2);
          const g = weights(dims, 2);
          const [pu, pv] = [u.matmul(u.T), vt.T.matmul(vt)];
          const tangent = fixedRank.project(x(), g);
          const flat = full(tangent);
          const other = full(fixedRank.project(x(), weights(dims, 3)));
          const factors = { left: weights([...lead, m, 3], 4), right: weights([...lead, 3, n], 5) };
          const byFactors = fixedRank.project(x(), factors);
          const whole = fixedRank.project(x(), factors.left.matmul(factors.right));
          const near = fixedRank.retract(x(), tangent);
          return [
            [flat, pu.matmul(g).add(g.matmul(pv)).sub(pu.matmul(g).matmul(pv))],
            [full(fixedRank.project(x(), flat)), flat],
            [sum(g.sub(flat).mul(other), [-2, -1]), zeros(lead, f64)],
            [full(byFactors), full(whole)],
            [u.T.matmul(tangent.up), zeros([...lead, 2, 2], f64)],
            [vt.matmul(tangent.vp), zeros([...lead, 2, 2], f64)],
            [reconstruct(near), bestRank(reconstruct(x()).add(flat), 2)],
            [near.u.T.matmul(near.u), unitOf(near.u)],
          ];
        });
        const tangent = (t: number): FixedRankTangent => {
          const { m, up, vp } = fixedRank.project(x(), weights(dims, 2));
          return { m: m.mul(t), up: up.mul(t), vp: vp.mul(t) };
        };
        const off = (t: number) =>
          reconstruct(fixedRank.retract(x(), tangent(t)))
            .sub(reconstruct(x()))
            .sub(full(tangent(t)));
        if (dims[1] !== 3) expect(await orderOf(backend, off)).toBeGreaterThan(1.9);
        const [rank] = await numbers(backend, () => [
          numericalRank(reconstruct(fixedRank.retract(x(), tangent(1))), { tolerance: 1e-12 }),
        ]);
        for (const r of rank!) expect(r).toBe(2);
      }
    });

    test("a descent along retractions finds the leading space and the nearest matrix of a rank", async () => {
      const backend = await ready();
      // tr(xᵀ a x) is largest for the leading eigenvectors.
      const b = weights([6, 6], 3);
      let x = point([6, 2], 9);
      for (let i = 0; i < 60; i++) {
        const slope = stiefel.project(x, b.matmul(b.T).matmul(x).mul(2));
        x = stiefel.retractPolar(x, slope.mul(0.08));
        await x.data();
      }
      const angles = await numbers(backend, () => [principalAngles(x, truncatedSvd(b, { rank: 2 }).u)]);
      for (const angle of angles[0]!) expect(angle).toBeLessThan(0.02);
      let y = truncatedSvd(weights([6, 5], 8), { rank: 2 });
      const goal = weights([6, 5], 1);
      for (let i = 0; i < 60; i++) {
        const { m, up, vp } = fixedRank.project(y, goal.sub(reconstruct(y)));
        y = fixedRank.retract(y, { m: m.mul(0.8), up: up.mul(0.8), vp: vp.mul(0.8) });
        await Promise.all([y.u.data(), y.s.data(), y.vt.data()]);
      }
      await expectClose(backend, "nearest of rank 2", () => [[reconstruct(y), bestRank(goal, 2)]], 1e-4);
    });

    test("gradients go through retractions and geodesics", async () => {
      const backend = await ready();
      const all: Record<string, Retraction> = {
        ...RETRACTIONS,
        "grassmann.exp": (x, xi) => grassmann.exp(x, grassmann.project(x, xi)),
        "grassmann.log": (x, xi) => grassmann.log(x, qr(x.mul(2).add(xi)).q),
        "grassmann.transport": (x, xi) =>
          grassmann.transport(x, grassmann.project(x, xi), grassmann.project(x, weights(x.shape, 6))),
        "fixedRank.retract": (x, xi) => {
          const at = truncatedSvd(x, { rank: 1 });
          return reconstruct(fixedRank.retract(at, fixedRank.project(at, xi)));
        },
      };
      for (const dims of [
        [5, 2],
        [3, 3],
      ])
        for (const [name, f] of Object.entries(all)) {
          if (dims[0] === dims[1] && name.startsWith("grassmann")) continue;
          const g = (x: Tensor, xi: Tensor) => {
            const q = qr(x).q;
            return weighed(f(q, name.includes(".") ? xi : stiefel.project(q, xi)));
          };
          const own = (x: Tensor, xi: Tensor) => weighed(f(x, xi));
          await checkSlope(
            backend,
            `${name} of ${dims}`,
            name.startsWith("fixed") ? own : g,
            [drawn(dims, 1), drawn(dims, 2)],
            { atol: 1e-6 },
          );
        }
      // Where the velocity is 0 the geodesics are smooth.
      const still = { dims: [5, 2], data: new Float64Array(10) };
      for (const exp of [RETRACTIONS["exp"]!, RETRACTIONS["canonical exp"]!, grassmann.exp]) {
        const h = (xi: Tensor) => weighed(exp(point([5, 2]), grassmann.project(point([5, 2]), xi)));
        await checkSlope(backend, "geodesic at rest", h, [still]);
      }
    });

    test("shapes and metrics that do not fit are refused", () => {
      const x = point([4, 2]);
      expect(() => stiefel.project(x, point([4, 3]))).toThrow(
        "stiefel.project: expected g of shape [4, 2] to follow x, got [4, 3]",
      );
      expect(() => stiefel.retractQr(x.T, x.T)).toThrow(
        "stiefel.retractQr: expected x of shape [.., n, p] with n ≥ p, got [2, 4]",
      );
      expect(() => stiefel.exp(x, x, { metric: "flat" as "canonical" })).toThrow(
        'stiefel.exp: expected metric "euclidean" or "canonical", got flat',
      );
      expect(() => grassmann.log(x, tensor([1, 2]))).toThrow("grassmann.log: expected y to be a matrix");
      const at = truncatedSvd(weights([4, 3], 1), { rank: 2 });
      expect(() => fixedRank.project(at, weights([3, 4], 1))).toThrow(
        "fixedRank.project: expected g of shape [.., 4, 3] to follow the point, got [3, 4]",
      );
      expect(() => fixedRank.project(at, { left: x, right: weights([3, 3], 1) })).toThrow(
        "fixedRank.project: expected left [.., m, k]",
      );
    });
  });
}
