// Tests of a library on small problems: a library that fails one is not used.
import type { LibraryHandle } from "koffi";
import { refuse } from "./library.js";

/**
 * Tells integers of 32 bits from those of 64 without harm: a length whose lower half is 3 and whose upper half makes it
 * negative. A library of 32-bit integers adds up three products; one of 64-bit integers finds nothing to do.
 */
export function expectIntegers(handle: LibraryHandle, path: string, prefix: string): void {
  const dot = handle.func(`${prefix}cblas_sdot`, "float", [
    "int64_t",
    "void *",
    "int64_t",
    "void *",
    "int64_t",
  ]);
  const got = dot(3n - 2n ** 32n, Float32Array.of(1, 2, 3), 1, Float32Array.of(4, 5, 6), 1) as number;
  if (got === 32) return;
  if (got === 0) {
    throw refuse(
      path,
      "integers of 32 bits (LP64)",
      "a library that takes integers of 64 bits (ILP64)",
      "install the build with 32-bit integers",
    );
  }
  throw refuse(path, "32 from cblas_sdot of [1, 2, 3] and [4, 5, 6]", String(got));
}

// M, N, K: below a tile, beyond one, and deeper than a block.
const SHAPES = [
  [3, 5, 7],
  [37, 41, 43],
  [9, 35, 600],
] as const;

const PRECISIONS = [
  ["float", Float32Array],
  ["double", Float64Array],
] as const;

/** A row by the second matrix of a shape, either way round. */
function expectRows(handle: LibraryHandle, path: string, prefix: string): void {
  for (const [real, Numbers] of PRECISIONS) {
    const name = `cblas_${real === "float" ? "s" : "d"}gemv`;
    const ints = new Array<string>(4).fill("int");
    const types = [...ints, real, "void *", "int", "void *", "int", real, "void *", "int"];
    const gemv = handle.func(prefix + name, "void", types);
    for (const [, N, K] of SHAPES)
      for (const turned of [false, true]) {
        const a = new Numbers(K * N).map((_, i) => ((i * 5) % 13) - 6);
        const x = new Numbers(2 * K).map((_, i) => (i % 2 === 0 ? ((i * 7) % 17) - 8 : Number.NaN));
        const y = new Numbers(N).fill(Number.NaN);
        gemv(101, turned ? 111 : 112, turned ? N : K, turned ? K : N, 1, a, turned ? K : N, x, 2, 0, y, 1);
        for (let j = 0; j < N; j++) {
          let want = 0;
          for (let k = 0; k < K; k++) want += x[2 * k]! * a[turned ? j * K + k : k * N + j]!;
          if (y[j] !== want) throw wrong(path, name, want, `[${j}]`, `a row of ${K} by [${K}, ${N}]`, y[j]!);
        }
      }
  }
}

const wrong = (path: string, name: string, want: number, at: string, product: string, got: number) =>
  refuse(
    path,
    `${name} to give ${want} at ${at} of ${product}`,
    String(got),
    "the library computes wrongly on this processor; install a newer one",
  );

/** Products of small integers, which every order of adding up gives exactly, in all four layouts and both precisions. */
export function expectProducts(handle: LibraryHandle, path: string, prefix: string): void {
  expectRows(handle, path, prefix);
  for (const [real, Numbers] of PRECISIONS) {
    const name = `cblas_${real === "float" ? "s" : "d"}gemm`;
    const ints = new Array<string>(6).fill("int");
    const types = [...ints, real, "void *", "int", "void *", "int", real, "void *", "int"];
    const gemm = handle.func(prefix + name, "void", types);
    for (const [M, N, K] of SHAPES)
      for (const turnedA of [false, true])
        for (const turnedB of [false, true]) {
          const a = new Numbers(M * K).map((_, i) => ((i * 7) % 17) - 8);
          const b = new Numbers(K * N).map((_, i) => ((i * 5) % 13) - 6);
          const c = new Numbers(M * N).fill(Number.NaN);
          const [lda, ldb] = [turnedA ? M : K, turnedB ? K : N];
          gemm(101, turnedA ? 112 : 111, turnedB ? 112 : 111, M, N, K, 1, a, lda, b, ldb, 0, c, N);
          for (let i = 0; i < M; i++)
            for (let j = 0; j < N; j++) {
              let want = 0;
              for (let k = 0; k < K; k++)
                want += a[turnedA ? k * M + i : i * K + k]! * b[turnedB ? j * K + k : k * N + j]!;
              const got = c[i * N + j]!;
              if (got !== want)
                throw wrong(
                  path,
                  name,
                  want,
                  `[${i}, ${j}]`,
                  `a product of [${M}, ${K}] by [${K}, ${N}]`,
                  got,
                );
            }
        }
  }
}

/**
 * Lower triangles of products of a matrix of small integers by its own transpose, either way round, in the precisions that
 * the library has; what lies above the diagonal is left alone.
 */
export function expectGrams(
  handle: LibraryHandle,
  path: string,
  prefix: string,
  has: (name: string) => boolean,
): void {
  for (const [real, Numbers] of PRECISIONS) {
    const name = `cblas_${real === "float" ? "s" : "d"}syrk`;
    if (!has(prefix + name)) continue;
    const ints = new Array<string>(5).fill("int");
    const syrk = handle.func(prefix + name, "void", [...ints, real, "void *", "int", real, "void *", "int"]);
    for (const [n, , K] of SHAPES)
      for (const turned of [false, true]) {
        const a = new Numbers(n * K).map((_, i) => ((i * 7) % 17) - 8);
        const c = new Numbers(n * n).fill(Number.NaN);
        syrk(101, 122, turned ? 112 : 111, n, K, 1, a, turned ? n : K, 0, c, n);
        for (let i = 0; i < n; i++)
          for (let j = 0; j < n; j++) {
            let want = 0;
            for (let k = 0; k < K; k++)
              want += turned ? a[k * n + i]! * a[k * n + j]! : a[i * K + k]! * a[j * K + k]!;
            const got = c[i * n + j]!;
            if (j > i ? !Number.isNaN(got) : got !== want)
              throw wrong(
                path,
                name,
                j > i ? Number.NaN : want,
                `[${i}, ${j}]`,
                `a matrix of [${n}, ${K}] by its transpose`,
                got,
              );
          }
      }
  }
}

/** A product that is large enough for a library's fastest way, with halves that end within its tiles. */
const [ROWS, COLUMNS, DEPTH] = [302, 226, 520];

/** Whether the quarters of a product have the bits that they have in the whole: in f32 and in f64. */
export function partsAgree(handle: LibraryHandle, prefix: string): readonly [f32: boolean, f64: boolean] {
  const [f32, f64] = PRECISIONS.map(([real, Numbers]) => {
    const ints = new Array<string>(6).fill("int");
    const types = [...ints, real, "void *", "int", "void *", "int", real, "void *", "int"];
    const gemm = handle.func(`${prefix}cblas_${real === "float" ? "s" : "d"}gemm`, "void", types);
    const a = new Numbers(ROWS * DEPTH).map((_, i) => Math.sin(i));
    const b = new Numbers(DEPTH * COLUMNS).map((_, i) => Math.cos(i));
    const product = (rows: number, columns: number, turned: boolean) => {
      const c = new Numbers(ROWS * COLUMNS);
      for (let i = 0; i < ROWS; i += rows)
        for (let j = 0; j < COLUMNS; j += columns)
          gemm(
            ...[101, turned ? 112 : 111, turned ? 112 : 111, rows, columns, DEPTH, 1],
            ...[a.subarray(turned ? i : i * DEPTH), turned ? ROWS : DEPTH],
            ...[b.subarray(turned ? j * DEPTH : j), turned ? DEPTH : COLUMNS],
            ...[0, c.subarray(i * COLUMNS + j), COLUMNS],
          );
      return c;
    };
    return [false, true].every((turned) => {
      const parts = product(ROWS / 2, COLUMNS / 2, turned);
      return product(ROWS, COLUMNS, turned).every((x, i) => x === parts[i]);
    });
  });
  return [f32!, f64!];
}
