// Opens a library of linear algebra, finds out which it is, and tests it before anything relies on it.
import { DeviceError } from "@lowrank/tensor/backend";
import type { LibraryHandle } from "koffi";
import { expectBinary } from "./binary-format.js";
import { expectGrams, expectIntegers, expectProducts, partsAgree } from "./trust.js";
import type { ThreadData } from "./thread.js";

/** What is used of koffi. */
export type Koffi = Pick<typeof import("koffi"), "load" | "address">;

/** A library that can be relied on. */
export interface Library extends Pick<ThreadData, "prefix" | "single"> {
  /** Path or name by which it was opened. */
  readonly path: string;
  /** "OpenBLAS", "MKL", "BLIS", "Accelerate", or "BLAS" where it does not say. */
  readonly name: string;
  /** As the library says it, or "" where it does not. */
  readonly version: string;
  readonly handle: LibraryHandle;
  /** Whether a product has the same bits when it is computed in parts: in f32 and in f64. */
  readonly partsAgree: readonly [f32: boolean, f64: boolean];
}

/** What stands before the names in some builds: SciPy's own OpenBLAS has a prefix. */
const PREFIXES = ["", "scipy_"] as const;
const NEEDED = ["cblas_sgemm", "cblas_dgemm", "cblas_sgemv", "cblas_dgemv", "cblas_sdot"] as const;

export const refuse = (path: string, expected: string, got: string, hint?: string): DeviceError =>
  new DeviceError({
    where: `native: ${path}`,
    expected,
    got,
    hint: hint ?? "name another library by LOWRANK_BLAS, or choose the wasm backend",
  });

const NOT_LOADED = "a library that can be loaded";

/** Whether an error says no more than that the loader has no such library. */
export const isMissing = ({ expected }: DeviceError): boolean => expected === NOT_LOADED;

/** @throws DeviceError that says what was found, if it is no library that computes rightly */
export function openLibrary(koffi: Koffi, path: string): Library {
  if (/[/\\]/.test(path)) expectBinary(path);
  let handle: LibraryHandle;
  try {
    handle = koffi.load(path);
  } catch (error) {
    throw refuse(path, NOT_LOADED, (error as Error).message.replace(/^Failed to load shared library: /, ""));
  }
  const has = (name: string): boolean => {
    try {
      return Boolean(handle.symbol(name));
    } catch {
      return false;
    }
  };
  const prefix = PREFIXES.find((p) => NEEDED.every((name) => has(p + name)));
  if (prefix === undefined) {
    const wide = PREFIXES.flatMap((p) => [`${p}cblas_sgemm64_`, `${p}cblas_sgemm_64`]).find(has);
    throw refuse(
      path,
      `the functions ${NEEDED.join(", ")}`,
      wide
        ? `${wide}, which takes integers of 64 bits`
        : `none of ${NEEDED.filter((name) => !has(name)).join(", ")}`,
      wide && "install the build with 32-bit integers (LP64)",
    );
  }
  expectIntegers(handle, path, prefix);
  const found = identify(handle, path, prefix, has);
  const { single } = found;
  if (single) handle.func(single.name, "void", [single.type])(single.value);
  expectProducts(handle, path, prefix);
  expectGrams(handle, path, prefix, has);
  return { path, prefix, handle, ...found, partsAgree: partsAgree(handle, prefix) };
}

function identify(
  handle: LibraryHandle,
  path: string,
  prefix: string,
  has: (name: string) => boolean,
): Pick<Library, "name" | "version" | "single"> {
  const one = (name: string, type = "int") => (has(name) ? { name, type, value: 1 } : null);
  if (has(`${prefix}openblas_get_config`)) {
    const text = handle.func(`${prefix}openblas_get_config`, "str", [])() as string;
    const version = /^OpenBLAS\s+(\S+)/.exec(text)?.[1] ?? "";
    return { name: "OpenBLAS", version, single: one(`${prefix}openblas_set_num_threads`) };
  }
  if (has("MKL_Get_Version_String")) {
    const text = Buffer.alloc(200);
    handle.func("void MKL_Get_Version_String(void *text, int length)")(text, text.length);
    const version = /[Vv]ersion\s+(\S+)/.exec(text.toString("latin1"))?.[1] ?? "";
    return { name: "MKL", version, single: one("MKL_Set_Num_Threads") };
  }
  if (has("bli_info_get_version_str")) {
    const version = handle.func("str bli_info_get_version_str()")() as string;
    return { name: "BLIS", version, single: one("bli_thread_set_num_threads", "int64_t") };
  }
  if (/\/Accelerate(\.framework|$)/.test(path))
    return { name: "Accelerate", version: "", single: one("BLASSetThreading", "uint") };
  return { name: "BLAS", version: "", single: null };
}
