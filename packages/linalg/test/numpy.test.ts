// What numpy's LAPACK says of the same matrices, asked while the test runs.
import { wasm } from "@lowrank/backend-wasm";
import { setDefaultBackend, type Tensor } from "@lowrank/tensor";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import * as linalg from "../src/index.js";
import { python, runPython } from "./python.js";
import { FAMILIES, type Matrix, POSITIVE, random, SYMMETRIC } from "./suite/families.js";
import { EPS, toTensor } from "./suite/measure.js";

const PROGRAM = `
import json, sys
import numpy as np
def of(c):
    a = np.array(c["a"]).reshape(c["m"], c["n"])
    what = c["what"]
    if what == "singularValues": return np.linalg.svd(a, compute_uv=False)
    if what == "eigvalsh": return np.linalg.eigvalsh(a)
    if what == "cholesky": return np.linalg.cholesky(a)
    if what == "r": return np.abs(np.linalg.qr(a)[1])
    if what == "solve": return np.linalg.solve(a, np.array(c["b"]).reshape(c["m"], -1))
    if what == "lstsq": return np.linalg.lstsq(a, np.array(c["b"]).reshape(c["m"], -1), rcond=None)[0]
    if what == "pinv": return np.linalg.pinv(a)
    if what == "slogdet": return np.linalg.slogdet(a)[1]
print(json.dumps([of(c).ravel().tolist() for c in json.load(sys.stdin)]))
`;

interface Case {
  readonly what: string;
  readonly family: string;
  readonly a: Matrix;
  readonly b?: Matrix;
  readonly ours: (a: Tensor, b: Tensor) => Tensor;
  /** How much larger errors may be than those of values, which are as large as the matrix. */
  readonly condition?: number;
}

const SHAPES = [
  [64, 64],
  [90, 40],
  [40, 90],
  [1, 7],
  [7, 1],
  [1, 1],
] as const;

const CASES: readonly Case[] = [
  ...SHAPES.flatMap(([m, n]) =>
    Object.entries(FAMILIES).map(
      ([family, f]): Case => ({
        what: "singularValues",
        family,
        a: f(m, n),
        ours: (a) => linalg.singularValues(a),
      }),
    ),
  ),
  ...[64, 90, 1].flatMap((n) =>
    Object.entries(SYMMETRIC).map(
      ([family, f]): Case => ({
        what: "eigvalsh",
        family,
        a: f(n),
        ours: (a) => linalg.eigvalsh(a),
      }),
    ),
  ),
  ...Object.entries(POSITIVE).map(
    ([family, f]): Case => ({
      what: "cholesky",
      family,
      a: f(70),
      ours: (a) => linalg.cholesky(a),
      condition: 1e4,
    }),
  ),
  ...SHAPES.map(
    ([m, n]): Case => ({
      what: "r",
      family: "random",
      a: random(m, n),
      ours: (a) => linalg.qr(a).r.abs(),
      condition: 1000,
    }),
  ),
  ...(["solve", "lstsq", "pinv", "slogdet"] as const).map(
    (what): Case => ({
      what,
      family: "random",
      a: random(64, 64),
      b: random(64, 5, 9),
      ours: (a, b) =>
        ({
          solve: () => linalg.solve(a, b),
          lstsq: () => linalg.lstsq(a, b).x,
          pinv: () => linalg.pinv(a),
          slogdet: () => linalg.slogdet(a).logAbsDet,
        })[what](),
      condition: 1e5,
    }),
  ),
];

describe.skipIf(!python)(`live against numpy ${python?.numpy}`, () => {
  let backend: Awaited<ReturnType<typeof wasm>>;
  let theirs: number[][];
  beforeAll(async () => {
    backend = await wasm({ threads: 1 });
    setDefaultBackend(backend);
    const input = CASES.map(({ what, a, b }) => ({
      what,
      m: a.m,
      n: a.n,
      a: [...a.data],
      b: b && [...b.data],
    }));
    theirs = runPython(PROGRAM, input) as number[][];
  });
  afterAll(() => backend.dispose());

  for (const what of new Set(CASES.map((c) => c.what))) {
    test(`${what} agrees to 20 n eps`, async () => {
      for (const [i, c] of CASES.entries()) {
        if (c.what !== what) continue;
        const got = await c.ours(toTensor(c.a, "f64"), toTensor(c.b ?? c.a, "f64")).data();
        const want = theirs[i]!;
        expect(got.length).toBe(want.length);
        const largest = Math.max(...want.map(Math.abs));
        const bound = 20 * Math.max(c.a.m, c.a.n) * EPS.f64 * largest * (c.condition ?? 1);
        for (const [j, value] of want.entries())
          if (!(Math.abs(got[j]! - value) <= bound))
            expect.fail(`${c.family} [${c.a.m}, ${c.a.n}], number ${j}: got ${got[j]}, numpy ${value}`);
      }
    });
  }
});
