import { wasm } from "@lowrank/backend-wasm";
import type { Backend } from "@lowrank/tensor";
import { afterAll, describe } from "vitest";
import { blas, noBlas } from "../../backend-native/test/blas.js";
import { largeSpectrumSuite } from "./suite/goldens.js";
import { largeSuite } from "./suite/large.js";
import type { Real } from "./suite/measure.js";

// The matrices on which decompositions fail if they fail at all, at the size of 1,024. Random ones of the slower decompositions
// are in large.test.ts.

/** Families by dtype: an SVD of this size is half a second of work. */
type Taken = Readonly<Record<Real, readonly string[]>>;

const BY_LIBRARY: Taken = { f64: ["graded", "clustered", "kahan", "wilkinson", "zero"], f32: [] };
const SHAPES = [
  [1024, 1024],
  [1024, 1],
  [1, 1024],
] as const;

function once(make: () => Promise<Backend>): () => Promise<Backend> {
  let backend: Promise<Backend> | undefined;
  afterAll(async () => (await backend)?.dispose());
  return () => (backend ??= make());
}

describe("hard matrices on wasm", () => {
  const make = once(() => wasm({ threads: 2 }));
  // One rounding of all elements of A, all one way, moves values by up to eps / 2 ‖|A|‖₂: 5.5 eps of the largest for the clustered
  // family of this size. Methods that round what is left of A after each panel add such errors up: LAPACK is 16.5 eps off.
  const accuracy = (_: number, family: string) => (family === "clustered" ? 20 : 10);
  const takes = (family: string, _: Real, decomposition: string) =>
    family !== "random" || ["lu", "cholesky", "solve"].includes(decomposition);
  largeSuite(make, SHAPES, accuracy, takes);
  largeSpectrumSuite(make, [1024], ["f64", "f32"], accuracy);
});

describe.skipIf(noBlas)("hard matrices by the library", () => {
  const make = once(() => blas({ threads: 2 }));
  largeSuite(
    make,
    SHAPES,
    (n) => n,
    (family, dtype) => BY_LIBRARY[dtype].includes(family),
  );
});
