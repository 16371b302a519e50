// Routines of LAPACK, and of BLAS beside products, as commands: for packages above, whose ops bring kernels for this backend.
import {
  type ArgWord,
  callHost,
  type EmitContext,
  type Fixup,
  type Kernel,
} from "@lowrank/backend-wasm/host";
import { bug } from "@lowrank/tensor/backend";
import type { Library } from "./library.js";
import { CALL, type ThreadData } from "./thread.js";

/**
 * Fortran routines: `c` a letter, `i` an integer, `a` an array. All go by address, behind them the lengths of letters. Arrays
 * are column-major.
 *
 * Source: LAPACK Users' Guide, third edition, 1999.
 */
const FORTRAN = {
  getrf: "iiaiaa", // m n a lda ipiv info
  getrs: "ciiaiaaia", // trans n nrhs a lda ipiv b ldb info
  potrf: "ciaia", // uplo n a lda info
  geqrf: "iiaiaaia", // m n a lda tau work lwork info
  orgqr: "iiiaiaaia", // m n k a lda tau work lwork info
  geqp3: "iiaiaaaia", // m n a lda jpvt tau work lwork info
  syevd: "cciaiaaiaia", // jobz uplo n a lda w work lwork iwork liwork info
  gesdd: "ciiaiaaiaiaiaa", // jobz m n a lda s u ldu vt ldvt work lwork iwork info
  gels: "ciiiaiaiaia", // trans m n nrhs a lda b ldb work lwork info
} as const;

/** Functions of CBLAS: `i` an integer, `r` a number, `a` an array. */
const CBLAS = {
  trsm: "iiiiiiiraiai", // order side uplo trans diag m n alpha a lda b ldb
  syrk: "iiiiirairai", // order uplo trans n k alpha a lda beta c ldc
} as const;

export type Routine = keyof typeof FORTRAN | keyof typeof CBLAS;

/** An array of each call, `step` bytes apart; with `perChunk` of each chunk, whose calls use it one after the other. */
export interface Each {
  readonly at: Fixup;
  readonly step: number;
  readonly perChunk?: boolean;
}

export interface Calls {
  /** How many. */
  readonly count: number;
  /** Parts of them that may run on different threads. */
  readonly chunks: number;
  /** A word of each call: where it is not 0, there is no call. */
  readonly skip?: Each;
}

/** What a library has of these, for f32 and f64. */
export interface Lapack {
  /** "sgetrf", "dgetrf", … */
  readonly routines: readonly string[];
  has(routine: Routine, dtype: "f32" | "f64"): boolean;
  /**
   * Appends a command that calls a routine, by its arguments in order: a letter, an integer or number, an array.
   *
   * The library works on one call with one thread, so that results do not depend on the threads.
   */
  call(
    ctx: EmitContext,
    routine: Routine,
    dtype: "f32" | "f64",
    args: readonly (string | number | Each)[],
    calls: Calls,
  ): void;
}

/**
 * What an op brings as `kernels.native`: its kernel on a library, or undefined where that lacks what it needs. With `always`
 * the library is to do all that it can, not what it does faster.
 */
export type NativeKernel = (lapack: Lapack, always: boolean) => Kernel | undefined;

const fortranTypes = (types: string): string =>
  "p".repeat(types.length) + "l".repeat(types.split("c").length - 1);

/** The functions of a library for `ThreadData`. */
export function functionsOf({ handle, prefix }: Pick<Library, "handle" | "prefix">): ThreadData["functions"] {
  const all = (["s", "d"] as const).flatMap((letter) => [
    ...Object.entries(FORTRAN).map(([name, types]) => [`${letter}${name}_`, fortranTypes(types)] as const),
    ...Object.entries(CBLAS).map(
      ([name, types]) =>
        [
          `cblas_${letter}${name}`,
          types.replaceAll("a", "p").replaceAll("r", letter === "s" ? "f" : "d"),
        ] as const,
    ),
  ]);
  return all.filter(([name]) => {
    try {
      return Boolean(handle.symbol(prefix + name));
    } catch {
      return false;
    }
  });
}

export function lapackOf(functions: ThreadData["functions"]): Lapack {
  const routines = functions.map(([name]) => name.replace(/^cblas_|_$/g, ""));
  const numberOf = (routine: Routine, dtype: "f32" | "f64"): number =>
    routines.indexOf((dtype === "f32" ? "s" : "d") + routine);
  return {
    routines,
    has: (routine, dtype) => numberOf(routine, dtype) >= 0,
    call(ctx, routine, dtype, args, { count, chunks, skip }) {
      const fortran = routine in FORTRAN;
      const types: string = { ...FORTRAN, ...CBLAS }[routine];
      if (args.length !== types.length) bug(`${routine} takes ${types.length} arguments, got ${args.length}`);
      // A letter is the first byte of its word.
      const values = args.map((arg) => (typeof arg === "string" ? arg.charCodeAt(0) : arg));
      const constants = fortran ? ctx.data(values.map((v) => (typeof v === "number" ? v : 0))) : null;
      const words = values.flatMap((value, i): ArgWord[] => {
        if (typeof value === "number") {
          if (constants) return [ctx.offset(constants, 4 * i), 0, 0];
          return types[i] === "r" ? realWords(dtype, value) : [value];
        }
        return value.perChunk ? [value.at, 0, value.step] : [value.at, value.step, 0];
      });
      const head = [numberOf(routine, dtype), count, skip?.at ?? 0, skip?.step ?? 0];
      ctx.linked(callHost, CALL, [...head, ...words], chunks, 8 * chunks);
    },
  };
}

/** The words of an f32 or an f64. */
const realWords = (dtype: "f32" | "f64", value: number): number[] => [
  ...new Int32Array((dtype === "f32" ? Float32Array : Float64Array).of(value).buffer),
];
