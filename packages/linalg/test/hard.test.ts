import { wasm } from "@lowrank/backend-wasm";
import type { Backend } from "@lowrank/tensor";
import { afterAll, describe } from "vitest";
import { blas, noBlas } from "../../backend-native/test/blas.js";
import { largeSpectrumSuite } from "./suite/goldens.js";
import { largeSuite } from "./suite/large.js";
import type { Real } from "./suite/measure.js";

// The matrices on which decompositions fail if they fail at all, at the size of 1,024. Random ones are in large.test.ts.

/** Families by dtype: an SVD of this size is half a second of work. */
type Taken = Readonly<Record<Real, readonly string[]>>;

const HARD = ["graded", "clustered", "ones", "hilbert", "kahan", "wilkinson", "minimum", "diagonal", "zero"];
const ON_WASM: Taken = { f64: HARD, f32: ["graded", "diagonal", "zero"] };
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
  // Values of the clustered matrix are 38 eps off, the worst of all, where LAPACK's are 49 off those of the random one.
  const accuracy = () => 40;
  largeSuite(make, SHAPES, accuracy, (family, dtype) => ON_WASM[dtype].includes(family));
  largeSpectrumSuite(make, [1024], ["f64"], accuracy, (family) => HARD.includes(family));
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
