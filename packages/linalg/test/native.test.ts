import { callHost, type Replaceable } from "@lowrank/backend-wasm/host";
import { evaluate, fromHost, setDefaultBackend, type Tensor } from "@lowrank/tensor";
import { describe, expect, test } from "vitest";
import { blas, noBlas } from "../../backend-native/test/blas.js";
import * as linalg from "../src/index.js";
import { FAMILIES, POSITIVE, SYMMETRIC } from "./suite/families.js";
import { type Accuracy, largeSpectrumSuite } from "./suite/goldens.js";
import { largeSuite } from "./suite/large.js";
import { REALS, toTensor } from "./suite/measure.js";
import { linalgSuite } from "./suite/suite.js";

/** The command of backend-native that calls a routine. */
const CALL = 1;
/** LAPACK's values are as near as its reductions, which lose n eps at most. */
const accuracy: Accuracy = (n) => Math.max(10, n);
const makeBackend = () => blas({ threads: 2, always: true });

describe.skipIf(noBlas)("by the library", () => {
  linalgSuite("native", makeBackend, accuracy);
  largeSuite(
    makeBackend,
    [
      [128, 128],
      [130, 97],
      [60, 200],
    ],
    accuracy,
  );
  largeSpectrumSuite(makeBackend, [128], REALS, accuracy);

  const WAYS: Readonly<Record<string, (n: number) => Tensor[]>> = {
    cholesky: (n) => [linalg.cholesky(toTensor(POSITIVE["random"]!(n), "f64"))],
    lu: (n) => Object.values(linalg.lu(toTensor(FAMILIES["random"]!(n, n), "f32"))),
    qr: (n) => Object.values(linalg.qr(toTensor(FAMILIES["random"]!(n, n), "f64"))),
    qrPivoted: (n) => Object.values(linalg.qrPivoted(toTensor(FAMILIES["random"]!(n, n), "f32"))),
    eigh: (n) => Object.values(linalg.eigh(toTensor(SYMMETRIC["random"]!(n), "f64"))),
    eigvalsh: (n) => [linalg.eigvalsh(toTensor(SYMMETRIC["random"]!(n), "f32"))],
    svd: (n) => Object.values(linalg.svd(toTensor(FAMILIES["random"]!(n, n), "f64"))),
    singularValues: (n) => [linalg.singularValues(toTensor(FAMILIES["random"]!(n, n), "f32"))],
    solve: (n) => {
      const [a, b] = [FAMILIES["random"]!(n, n), FAMILIES["random"]!(n, 256)];
      return [linalg.solve(toTensor(a, "f64"), toTensor(b, "f64"))];
    },
    "solve, one column": (n) => {
      const [a, b] = [FAMILIES["random"]!(n, n), FAMILIES["random"]!(n, 1)];
      return [linalg.solve(toTensor(a, "f32"), toTensor(b, "f32"))];
    },
    triangularSolve: (n) => {
      const [a, b] = [POSITIVE["random"]!(n), FAMILIES["random"]!(n, 256)];
      return [linalg.triangularSolve(toTensor(a, "f64"), toTensor(b, "f64"))];
    },
  };

  for (const [name, way] of Object.entries(WAYS)) {
    test(`${name} calls it, with the same bits on one thread and on three`, async () => {
      const results: number[][][] = [];
      for (const threads of [1, 3]) {
        const backend = await blas({ threads, always: true });
        setDefaultBackend(backend);
        const calls = countCalls(backend as unknown as Replaceable);
        const parts = way(200);
        await evaluate(...parts);
        results.push(await Promise.all(parts.map(async (x) => Array.from(await x.data()))));
        if (["OpenBLAS", "MKL", "Accelerate"].includes(backend.library!.name))
          expect(calls()).toBeGreaterThan(0);
        backend.dispose();
      }
      expect(results[1]).toEqual(results[0]);
    });
  }

  test("what the library would not do faster is left to WebAssembly", async () => {
    const backend = await blas({ threads: 1 });
    setDefaultBackend(backend);
    const calls = countCalls(backend as unknown as Replaceable);
    for (const [name, way] of Object.entries(WAYS)) if (name !== "lu") await evaluate(...way(6));
    await evaluate(...WAYS["lu"]!(64));
    expect(calls()).toBe(0);
    backend.dispose();
  });

  test("what fails in a long plan, which runs apart, is refused as in a short one", async () => {
    const backend = await blas({ threads: 2 });
    setDefaultBackend(backend);
    const [n, bad] = [700, 456];
    const { data } = FAMILIES["identity"]!(n, n);
    data[bad * (n + 1)] = -3;
    await expect(evaluate(linalg.cholesky(fromHost("f64", [n, n], data)))).rejects.toThrow(
      `cholesky: expected a positive definite matrix, got pivot ${bad}`,
    );
    expect((await linalg.logdet(fromHost("f64", [2, 2], Float64Array.of(2, 0, 0, 1))).data())[0]).toBeCloseTo(
      Math.LN2,
    );
    backend.dispose();
  });

  test("a batch that is taken in slices is as its matrices one by one", async () => {
    const backend = await blas({ threads: 3, always: true });
    setDefaultBackend(backend);
    const [count, n] = [150, 100];
    const each = Array.from({ length: count }, (_, b) => {
      const a = SYMMETRIC["random"]!(n).data.map((x, i) => x + (i % (n + 1) === 0 ? b % 7 : 0));
      return Float64Array.from(a);
    });
    const data = new Float64Array(count * n * n);
    for (const [b, a] of each.entries()) data.set(a, b * n * n);
    const whole = fromHost("f64", [count, n, n], data);
    const all = { ...linalg.svd(whole), ...linalg.lu(whole), values: linalg.eigvalsh(whole) };
    await evaluate(...Object.values(all));
    for (const b of [0, 68, 69, 149]) {
      const one = fromHost("f64", [n, n], each[b]!);
      const alone = { ...linalg.svd(one), ...linalg.lu(one), values: linalg.eigvalsh(one) };
      for (const name of Object.keys(all) as (keyof typeof all)[])
        expect(Array.from(await all[name].slice([[b, b + 1]]).data()), `${name} ${b}`).toEqual(
          Array.from(await alone[name].data()),
        );
    }
    data[120 * n * n + 7] = Number.POSITIVE_INFINITY;
    await expect(evaluate(linalg.svd(fromHost("f64", [count, n, n], data)).s)).rejects.toThrow(
      "svd: expected finite numbers, got Infinity at [0, 7] of matrix [120]",
    );
    data[120 * n * n + 7] = data[120 * n * n + 7 * n]!;
    await expect(evaluate(linalg.cholesky(fromHost("f64", [count, n, n], data)))).rejects.toThrow(
      /cholesky: expected a positive definite matrix, got pivot \d+ of matrix \[0\]/,
    );
    backend.dispose();
  });
});

/** Counts the commands by which a backend calls routines from now on. */
function countCalls(backend: Replaceable): () => number {
  let count = 0;
  const { emit } = backend;
  backend.emit = (group, ctx) => {
    const { linked } = ctx;
    ctx.linked = (extension, kernel, ...rest) => {
      if (extension === callHost && kernel === CALL) count++;
      linked.call(ctx, extension, kernel, ...rest);
    };
    emit(group, ctx);
    ctx.linked = linked;
  };
  return () => count;
}
