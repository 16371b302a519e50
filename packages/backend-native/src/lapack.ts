// Routines of LAPACK, and of BLAS beside products, as commands: for packages above, whose ops bring kernels for this backend.
import { type ArgWord, callHost, type EmitContext, type Kernel } from "@lowrank/backend-wasm/host";
import type { Library } from "./library.js";
import { CALL, type ThreadData } from "./thread.js";

/**
 * Fortran routines: addresses, and behind them the lengths of those that are texts. Arrays are column-major.
 *
 * Source: LAPACK Users' Guide, third edition, 1999.
 */
const FORTRAN = {
  getrf: "pppppp", // m n a lda ipiv info
  getrs: "pppppppppl", // trans n nrhs a lda ipiv b ldb info
  potrf: "pppppl", // uplo n a lda info
  geqrf: "pppppppp", // m n a lda tau work lwork info
  orgqr: "ppppppppp", // m n k a lda tau work lwork info
  geqp3: "ppppppppp", // m n a lda jpvt tau work lwork info
  syevd: "pppppppppppll", // jobz uplo n a lda w work lwork iwork liwork info
  gesdd: "ppppppppppppppl", // jobz m n a lda s u ldu vt ldvt work lwork iwork info
  gels: "pppppppppppl", // trans m n nrhs a lda b ldb work lwork info
} as const;

/** Functions of CBLAS, r for the number type. */
const CBLAS = {
  trsm: "iiiiiiirpipi", // order side uplo trans diag m n alpha a lda b ldb
  syrk: "iiiiirpirpi", // order uplo trans n k alpha a lda beta c ldc
} as const;

export type Routine = keyof typeof FORTRAN | keyof typeof CBLAS;

/** What a library has of these, for f32 and f64. */
export interface Lapack {
  /** "sgetrf", "dgetrf", … */
  readonly routines: readonly string[];
  has(routine: Routine, dtype: "f32" | "f64"): boolean;
  /**
   * Appends a command that calls a routine once for each list of arguments, on whichever threads are there. Arguments are in
   * the order of the routine without lengths of texts: `p` an address, `i` a number, `r` an f32 word or the two of an f64.
   */
  call(
    ctx: EmitContext,
    routine: Routine,
    dtype: "f32" | "f64",
    calls: readonly (readonly ArgWord[])[],
  ): void;
}

/** What an op brings as `kernels.native`: its kernel on a library, or undefined where that lacks what it needs. */
export type NativeKernel = (lapack: Lapack) => Kernel | undefined;

/** The functions of a library for `ThreadData`. */
export function functionsOf({ handle, prefix }: Pick<Library, "handle" | "prefix">): ThreadData["functions"] {
  const all = (["s", "d"] as const).flatMap((letter) => [
    ...Object.entries(FORTRAN).map(([name, types]) => [`${letter}${name}_`, types] as const),
    ...Object.entries(CBLAS).map(
      ([name, types]) =>
        [`cblas_${letter}${name}`, types.replaceAll("r", letter === "s" ? "f" : "d")] as const,
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
    call(ctx, routine, dtype, calls) {
      const number = numberOf(routine, dtype);
      const lengths = Array.from(functions[number]![1]).filter((type) => type === "l");
      const words = calls.flatMap((call) => [...call, ...lengths.map(() => 1)]);
      ctx.linked(callHost, CALL, [number, ...words], calls.length, 8 * calls.length);
    },
  };
}
