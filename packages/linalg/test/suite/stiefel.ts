import { type Backend, eye, norm, setDefaultBackend, sum, type Tensor, zeros } from "@lowrank/tensor";
import { describe, expect, test } from "vitest";
import { inverse, polar, stiefel, svd } from "../../src/index.js";
import { expectClose, numbers } from "./expect-close.js";
import { weights } from "./gradient.js";
import { orderOf } from "./order.js";
import { canonical, point, type Retraction, RETRACTIONS, SHAPES, skew, unitOf } from "./points.js";

const f64 = { dtype: "f64" } as const;

/** Projections, retractions and geodesics of the Stiefel manifold against what defines them. */
export function stiefelSuite(makeBackend: () => Promise<Backend>): void {
  const ready = async (): Promise<Backend> => {
    const backend = await makeBackend();
    setDefaultBackend(backend);
    return backend;
  };

  describe("stiefel", () => {
    test("stiefel.project gives tangent vectors: the Euclidean one by an orthogonal projection, the canonical one by its metric", async () => {
      const backend = await ready();
      for (const dims of SHAPES)
        await expectClose(backend, `projections at ${dims}`, () => {
          const [x, g, h] = [point(dims), weights(dims, 2), weights(dims, 3)];
          const flat = stiefel.project(x, g);
          const other = stiefel.project(x, h);
          const steep = stiefel.project(x, g, canonical);
          const dot = (a: Tensor, b: Tensor) => sum(a.mul(b), [-2, -1]);
          const halved = other.sub(x.matmul(x.T.matmul(other)).mul(0.5));
          const none = zeros(x.T.matmul(x).shape, f64);
          return [
            [skew(x.T.matmul(flat)), none],
            [skew(x.T.matmul(steep)), none],
            [stiefel.project(x, flat), flat],
            [dot(flat, other), dot(g, other)],
            [dot(steep, halved), dot(g, other)],
            [stiefel.transport(x, g), flat],
          ];
        });
    });

    test("every retraction stays on the manifold, also for long steps, and starts at x with velocity xi", async () => {
      const backend = await ready();
      for (const [name, retract] of Object.entries(RETRACTIONS)) {
        for (const dims of SHAPES) {
          const x = () => point(dims);
          const xi = () => stiefel.project(x(), weights(dims, 4));
          await expectClose(
            backend,
            `${name} of ${dims}`,
            () => {
              const ends = [0.1, 1, 4].map((t) => retract(x(), xi().mul(t)));
              return [
                ...ends.map((y): [Tensor, Tensor] => [y.T.matmul(y), unitOf(y)]),
                [retract(x(), xi().mul(0)), x()],
              ];
            },
            1e-11,
          );
          const order = await orderOf(backend, (t) => retract(x(), xi().mul(t)).sub(x()).sub(xi().mul(t)));
          expect(order, `${name} of ${dims}`).toBeGreaterThan(1.9);
        }
      }
    });

    test("the polar retraction follows the Euclidean geodesic to second order, Cayley's the canonical one, QR to first", async () => {
      const backend = await ready();
      const dims = [6, 3];
      const x = () => point(dims);
      const xi = () => stiefel.project(x(), weights(dims, 4));
      const apart = (a: Retraction, b: Retraction) => (t: number) =>
        a(x(), xi().mul(t)).sub(b(x(), xi().mul(t)));
      const { exp: euclidean, "canonical exp": steep } = RETRACTIONS as Record<string, Retraction>;
      expect(await orderOf(backend, apart(stiefel.retractPolar, euclidean!))).toBeGreaterThan(2.9);
      expect(await orderOf(backend, apart(stiefel.retractCayley, steep!))).toBeGreaterThan(2.9);
      expect(await orderOf(backend, apart(stiefel.retractQr, euclidean!))).toBeCloseTo(2, 1);
      expect(await orderOf(backend, apart(euclidean!, steep!))).toBeCloseTo(2, 1);
    });

    test("geodesics obey their equations and keep their speed", async () => {
      const backend = await ready();
      const h = 1e-3;
      for (const metric of ["euclidean", "canonical"] as const) {
        await expectClose(
          backend,
          metric,
          () => {
            const x = point([6, 3]);
            const xi = stiefel.project(x, weights([6, 3], 4));
            const at = (t: number) => stiefel.exp(x, xi.mul(t), { metric });
            const velocity = (t: number) =>
              at(t - 2 * h)
                .sub(at(t - h).mul(8))
                .add(at(t + h).mul(8))
                .sub(at(t + 2 * h))
                .div(12 * h);
            const curvature = (t: number) =>
              at(t + h)
                .add(at(t - h))
                .sub(at(t).mul(2))
                .div(h * h);
            const speed = (t: number) => {
              const v = velocity(t);
              const w = metric === "euclidean" ? v : v.sub(at(t).matmul(at(t).T.matmul(v)).mul(0.5));
              return sum(v.mul(w));
            };
            return [0, 0.7].flatMap((t): [Tensor, Tensor][] => {
              const [y, v] = [at(t), velocity(t)];
              const along = y.T.matmul(v);
              const force =
                metric === "euclidean"
                  ? y.matmul(v.T.matmul(v))
                  : v.matmul(v.T.matmul(y)).add(y.matmul(along.matmul(along).add(v.T.matmul(v))));
              return [
                [curvature(t), force.neg()],
                [speed(t), speed(0)],
              ];
            });
          },
          3e-6,
        );
      }
    });

    test("Cayley's 2p equations give what its n equations give; polar's is the nearest orthonormal matrix, U Vᵀ", async () => {
      const backend = await ready();
      await expectClose(backend, "Cayley", () => {
        const [x, g] = [point([7, 2]), weights([7, 2], 3)];
        const t = 0.3;
        // K = G Xᵀ - X Gᵀ moves against the canonical gradient of G.
        const K = g.matmul(x.T).sub(x.matmul(g.T));
        const one = eye(7, 7, f64);
        const whole = inverse(one.add(K.mul(t / 2)))
          .matmul(one.sub(K.mul(t / 2)))
          .matmul(x);
        const moved = stiefel.project(x, g, canonical).mul(-t);
        const { u, vt } = svd(x.add(moved));
        return [
          [stiefel.retractCayley(x, moved), whole],
          [stiefel.retractPolar(x, moved), u.matmul(vt)],
          [polar(x.add(moved)).u, u.matmul(vt)],
        ];
      });
    });

    test("Cayley's iteration converges by ‖W‖ / 2 a round", async () => {
      const backend = await ready();
      for (const dims of [
        [6, 2],
        [4, 4],
        [2, 7, 3],
      ]) {
        const errors = await numbers(backend, () => {
          const x = point(dims);
          const flat = stiefel.project(x, weights(dims, 3));
          const xi = flat.div(norm(flat).mul(2));
          const exact = stiefel.retractCayley(x, xi);
          return [0, 1, 2, 3, 30].map((iterations) =>
            norm(stiefel.retractCayley(x, xi, { iterations }).sub(exact)),
          );
        });
        // ‖W‖₂ ≤ √2 ‖xi‖_F = 1 / √2
        for (let i = 1; i < 4; i++)
          expect(errors[i]![0]).toBeLessThanOrEqual((errors[i - 1]![0]! * Math.SQRT1_2) / 2);
        expect(errors[4]![0]).toBeLessThan(1e-13);
      }
      expect(() => stiefel.retractCayley(point([3, 1]), point([3, 1]), { iterations: -1 })).toThrow(
        "stiefel.retractCayley: expected iterations to be an integer ≥ 0, got -1",
      );
    });
  });
}
