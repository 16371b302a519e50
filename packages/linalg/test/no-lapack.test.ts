// A library that has products and nothing else: decompositions are WebAssembly's, and right.
import { type Backend, evaluate, setDefaultBackend, type Tensor } from "@lowrank/tensor";
import { wasm } from "@lowrank/backend-wasm";
import { describe, expect, test } from "vitest";
import { compile, noCompiler } from "../../backend-native/test/c-library.js";
import { native } from "../../backend-native/src/index.js";
import * as linalg from "../src/index.js";
import { FAMILIES, POSITIVE, SYMMETRIC } from "./suite/families.js";
import { toTensor } from "./suite/measure.js";

const N = 96;

/** Results that rest on no product of the library. */
function decompositions(dtype: "f32" | "f64"): Record<string, Tensor> {
  const a = toTensor(FAMILIES["random"]!(N, N), dtype);
  const even = toTensor(SYMMETRIC["random"]!(N), dtype);
  const positive = toTensor(POSITIVE["random"]!(N), dtype);
  const b = toTensor(FAMILIES["random"]!(N, 40), dtype);
  return {
    cholesky: linalg.cholesky(positive),
    ...linalg.lu(a),
    solve: linalg.solve(a, b),
    triangularSolve: linalg.triangularSolve(positive, b),
    ...linalg.qr(a),
    pivoted: linalg.qrPivoted(a).r,
    ...linalg.eigh(even),
    eigvalsh: linalg.eigvalsh(even),
    ...linalg.svd(a),
    singularValues: linalg.singularValues(a),
    lstsq: linalg.lstsq(a, b).singularValues,
  };
}

async function on(backend: Backend): Promise<Record<string, number[]>> {
  setDefaultBackend(backend);
  const numbers: Record<string, number[]> = {};
  for (const dtype of ["f32", "f64"] as const) {
    const all = decompositions(dtype);
    await evaluate(...Object.values(all));
    for (const [name, x] of Object.entries(all)) numbers[`${name} ${dtype}`] = Array.from(await x.data());
  }
  await backend.dispose();
  return numbers;
}

describe.skipIf(noCompiler)("a library without LAPACK", () => {
  test("leaves decompositions to WebAssembly: the same bits", async () => {
    const backend = await native({ library: compile("products.so"), threads: 2 });
    expect(backend.library?.name).toBe("BLAS");
    expect(backend.lapack?.routines).toEqual(["ssyrk", "dsyrk"]); // which are BLAS's
    expect(await on(backend)).toEqual(await on(await wasm({ threads: 2 })));
  });

  test("and does the products between them", async () => {
    const backend = await native({ library: compile("products.so"), threads: 1 });
    setDefaultBackend(backend);
    const a = toTensor(FAMILIES["random"]!(N, N), "f64");
    const { u, s, vt } = linalg.svd(a);
    const error = u.mul(s).matmul(vt).sub(a).abs().max();
    expect((await error.data())[0]).toBeLessThan(1e-12);
    backend.dispose();
  });
});
