// What runs on each thread: the functions of the library, called on the memory of the backend.
import type { HostCall } from "@lowrank/backend-wasm/host";
import type { keepOff } from "./cores.js";
import type { Koffi } from "./library.js";

/** What a thread needs to call the library. */
export interface ThreadData {
  /** Where koffi is looked for: a file beside whose packages it is installed. */
  readonly from: string;
  /** Path or name of the library. */
  readonly library: string;
  /** What stands before the name of each of its functions. */
  readonly prefix: string;
  /** The function, if there is one, by which a thread asks the library to add none of its own, and its argument. */
  readonly single: { readonly name: string; readonly type: string; readonly value: number } | null;
  /** Functions that CALL can call: name and types of the arguments, `p` an address, `i` an int, `l` a length, `f`, `d`. */
  readonly functions: readonly (readonly [name: string, types: string])[];
}

/** What a command asks for. */
export const GEMM = 0;
export const CALL = 1;
export const GRAM = 2;

/**
 * The words of a command behind the first, which counts for nothing.
 *
 *     0 GEMM: c = a b + beta c, each row-major or, if turned, column-major. One row (M = 1) has its step for ld of a
 *       1 a  2 b  3 c  4 M  5 N  6 K  7 ld of a  8 ld of b  9 ld of c  10 whether a is turned  11 b  12 bytes of an element
 *       13 rows of a part  14 columns of a part  15 beta  16 matrices  17 batch axes
 *       18.. per batch axis, the outermost first: size, stride of a, stride of b, stride of c, in elements
 *     1 CALL: a function of the table
 *       1 its number  2 calls  3 address of a word: where it is not 0, there is no call (0: none)  4 bytes to that of the next
 *       5.. arguments: an address with the bytes to that of the next call and to that of the next chunk; two words of a `d`;
 *         none of an `l`, which is 1; else one
 *     2 GRAM: c = a aᵀ, a [n, K] row-major or, if turned, column-major
 *       1 a  2 c  3 n  4 K  5 ld of a  6 ld of c  7 whether a is turned  8 bytes of an element  9 rows and columns of a part
 *       10 matrices  11 batch axes
 *       12.. per batch axis, the outermost first: size, stride of a, stride of c, in elements
 *
 * A unit of GEMM is a part of one matrix of c, one of CALL a call, one of GRAM a part of one matrix on or below the diagonal, which
 * is then turned over to above it. Parts come from shapes, or have the bits of the whole, and the
 * library works on a unit with one thread, so that the same bits come out on any number of threads.
 *
 * The text of this function is sent to threads: it uses nothing from outside and names no function inside.
 */
export const startThread = (
  memory: WebAssembly.Memory,
  data: ThreadData,
  places: Parameters<typeof keepOff>[2],
  leads: boolean,
  keep: typeof keepOff,
): HostCall => {
  const { from, library, prefix, single, functions } = data;
  const { createRequire } = process.getBuiltinModule("node:module");
  const koffi = createRequire(from)("koffi") as Koffi;
  const lib = koffi.load(library);
  if (single) lib.func(single.name, "void", [single.type])(single.value);
  // ints, alpha, A, lda, B or x and its step, beta, C or y and its step; an address is a number below 2^53
  const ints = ["int", "int", "int", "int"];
  const matrices = ["uintptr_t", "int", "uintptr_t", "int"];
  const [gemms, gemvs] = ["gemm", "gemv"].map((name) =>
    ["float", "double"].map((real, i) => {
      const more = name === "gemm" ? ["int", "int"] : [];
      const types = [...ints, ...more, real, ...matrices, real, "uintptr_t", "int"];
      return lib.func(`${prefix}cblas_${"sd"[i]}${name}`, "void", types);
    }),
  );
  const syrks = ["float", "double"].map((real, i) => {
    const name = `cblas_${"sd"[i]}syrk`;
    const types = [...ints, "int", real, "uintptr_t", "int", real, "uintptr_t", "int"];
    return functions.some(([f]) => f === name) ? lib.func(prefix + name, "void", types) : null;
  });
  const table = functions.map(([name, types]) =>
    lib.func(
      `${prefix}${name}`,
      "void",
      Array.from(types, (t) => ({ p: "uintptr_t", i: "int", l: "size_t", f: "float", d: "double" })[t]!),
    ),
  );
  let buffer: ArrayBufferLike | null = null;
  let base = 0;
  let words = new Int32Array(0);
  let view = new DataView(words.buffer);
  return Object.assign(
    (args: number, chunk: number, chunks: number) => {
      if (buffer !== memory.buffer) {
        // the memory has grown
        buffer = memory.buffer;
        base = Number(koffi.address(new Uint8Array(buffer)));
        words = new Int32Array(buffer);
        view = new DataView(buffer);
      }
      const at = (args >>> 2) + 1;
      if (words[at] === 1) {
        const types = functions[words[at + 1]!]![1];
        const end = Math.floor((words[at + 2]! * (chunk + 1)) / chunks);
        for (let i = Math.floor((words[at + 2]! * chunk) / chunks); i < end; i++) {
          if (words[at + 3]! !== 0 && words[((words[at + 3]! >>> 0) + i * words[at + 4]!) >>> 2] !== 0)
            continue;
          let next = at + 5;
          const values: number[] = [];
          for (const type of types) {
            if (type === "p") {
              const steps = i * (words[next + 1]! >>> 0) + chunk * (words[next + 2]! >>> 0);
              values.push(base + (words[next]! >>> 0) + steps);
              next += 3;
            } else if (type === "i") values.push(words[next++]!);
            else if (type === "f") values.push(view.getFloat32(4 * next++, true));
            else if (type === "d") {
              values.push(view.getFloat64(4 * next, true));
              next += 2;
            } else values.push(1);
          }
          table[words[at + 1]!]!(...values);
        }
        return;
      }
      if (words[at] === 2) {
        const [n, K, lda, ldc] = [words[at + 3]!, words[at + 4]!, words[at + 5]!, words[at + 6]!];
        const [turned, size, part, axes] = [words[at + 7]!, words[at + 8]!, words[at + 9]!, words[at + 11]!];
        const along = Math.ceil(n / part);
        const perMatrix = (along * (along + 1)) / 2;
        const units = words[at + 10]! * perMatrix;
        const real = size === 4 ? 0 : 1;
        const numbers = real ? new Float64Array(buffer) : new Float32Array(buffer);
        const end = Math.floor((units * (chunk + 1)) / chunks);
        for (let unit = Math.floor((units * chunk) / chunks); unit < end; unit++) {
          let [a, c] = [words[at + 1]! >>> 0, words[at + 2]! >>> 0];
          let matrix = Math.floor(unit / perMatrix);
          for (let axis = at + 9 + 3 * axes; matrix > 0; axis -= 3) {
            const i = matrix % words[axis]!;
            matrix = Math.floor(matrix / words[axis]!);
            a += i * words[axis + 1]! * size;
            c += i * words[axis + 2]! * size;
          }
          let down = 0;
          let across = unit % perMatrix;
          while (across > down) across -= ++down;
          const [i, j] = [down * part, across * part];
          const [rows, columns] = [Math.min(part, n - i), Math.min(part, n - j)];
          const [ai, aj] = [i, j].map((row) => base + a + row * (turned ? 1 : lda) * size);
          const at0 = base + c + (i * ldc + j) * size;
          const [plain, other] = turned ? [112, 111] : [111, 112];
          if (i === j) syrks![real]!(101, 122, plain, rows, K, 1, ai, lda, 0, at0, ldc);
          else gemms![real]!(101, plain, other, rows, columns, K, 1, ai, lda, aj, lda, 0, at0, ldc);
          // What lies above the diagonal, in parts of 8 by 16: of a larger one, rows of 2^n numbers share too few sets of the cache.
          const first = c / size;
          for (let r0 = i; r0 < i + rows; r0 += 8) {
            const lastR = Math.min(r0 + 8, i + rows);
            for (let s0 = j, lastS = Math.min(j + columns, lastR); s0 < lastS; s0 += 16)
              for (let s = s0; s < Math.min(s0 + 16, lastS); s++)
                for (let r = Math.max(r0, s + 1); r < lastR; r++)
                  numbers[first + s * ldc + r] = numbers[first + r * ldc + s]!;
          }
        }
        return;
      }
      const [M, N, K] = [words[at + 4]!, words[at + 5]!, words[at + 6]!];
      const [lda, ldb, ldc] = [words[at + 7]!, words[at + 8]!, words[at + 9]!];
      const [turnedA, turnedB, size] = [words[at + 10]!, words[at + 11]!, words[at + 12]!];
      const beta = words[at + 15]!;
      const [rows, columns] = [words[at + 13]!, words[at + 14]!];
      const acrossParts = Math.ceil(N / columns);
      const perMatrix = Math.ceil(M / rows) * acrossParts;
      const units = words[at + 16]! * perMatrix;
      const gemm = gemms![size === 4 ? 0 : 1]!;
      const gemv = gemvs![size === 4 ? 0 : 1]!;
      const last = Math.floor((units * (chunk + 1)) / chunks);
      for (let unit = Math.floor((units * chunk) / chunks); unit < last; unit++) {
        let [a, b, c] = [
          base + (words[at + 1]! >>> 0),
          base + (words[at + 2]! >>> 0),
          base + (words[at + 3]! >>> 0),
        ];
        let matrix = Math.floor(unit / perMatrix);
        for (let axis = at + 14 + 4 * words[at + 17]!; matrix > 0; axis -= 4) {
          const i = matrix % words[axis]!;
          matrix = Math.floor(matrix / words[axis]!);
          a += i * words[axis + 1]! * size;
          b += i * words[axis + 2]! * size;
          c += i * words[axis + 3]! * size;
        }
        const row = Math.floor((unit % perMatrix) / acrossParts) * rows;
        const column = (unit % acrossParts) * columns;
        const [m, n] = [Math.min(rows, M - row), Math.min(columns, N - column)];
        a += row * (turnedA ? 1 : lda) * size;
        b += column * (turnedB ? ldb : 1) * size;
        c += (row * ldc + column) * size;
        if (M === 1)
          gemv(101, turnedB ? 111 : 112, turnedB ? n : K, turnedB ? K : n, 1, b, ldb, a, lda, beta, c, 1);
        else gemm(101, turnedA ? 112 : 111, turnedB ? 112 : 111, m, n, K, 1, a, lda, b, ldb, beta, c, ldc);
      }
    },
    { lead: keep(koffi, memory, places, leads) },
  );
};
