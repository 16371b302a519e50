import { wasm, type WasmBackend, type WasmOptions } from "@lowrank/backend-wasm";
import type { WithMachine } from "@lowrank/backend-wasm/host";
import { runLongApart } from "./apart.js";
import { hostOf } from "./host.js";
import { useLibrary } from "./kernels.js";
import type { Lapack } from "./lapack.js";

/** Bytes up to which there is one WebAssembly memory. */
const ONE_MEMORY = 2 ** 32;

export interface NativeOptions extends Pick<WasmOptions, "threads" | "maxMemoryBytes" | "profile"> {
  /**
   * Path of the library, or its name where the loader of the system finds it. Default: the variable LOWRANK_BLAS, else
   * Accelerate, MKL, OpenBLAS or BLIS where one is found.
   */
  library?: string;
  /** Told, in one line, that there is no library and what to do. Default: `console.warn`. */
  onFallback?: (message: string) => void;
  /** @internal libraries to try */
  candidates?: readonly string[];
  /** @internal whether the library does all that it can, however small */
  always?: boolean;
}

/** The library that computes. */
export interface NativeLibrary {
  /** "OpenBLAS", "MKL", "BLIS", "Accelerate", or "BLAS" where it does not say. */
  readonly name: string;
  /** As the library says it, or "". */
  readonly version: string;
  readonly path: string;
}

export interface NativeBackend extends WasmBackend {
  /** Null where none was found, and WebAssembly does all. */
  readonly library: NativeLibrary | null;
  /** @internal the routines of the library beside products, for ops that bring a kernel as `kernels.native` */
  readonly lapack: Lapack | null;
}

/**
 * Starts the embedded backend with its products done by the BLAS of the machine, on the same memory.
 *
 * Without a library it is the embedded backend, with one line that says what to install, unless a library was asked for.
 *
 * @throws ConfigError if an option is out of range
 * @throws DeviceError if the library that was asked for is none, or computes wrongly
 */
export async function native(options: NativeOptions = {}): Promise<NativeBackend> {
  const {
    library: asked = process.env["LOWRANK_BLAS"] || undefined,
    onFallback = console.warn,
    always,
    candidates,
    ...rest
  } = options;
  const found = await hostOf(asked, candidates);
  if (typeof found === "string") {
    onFallback(`native: ${found}`);
    return Object.assign(await wasm(rest), { library: null, lapack: null });
  }
  const { library, lapack, host, startLeader } = found;
  const backend = (await wasm({ ...rest, host })) as WasmBackend & WithMachine;
  const { name, version, path } = library;
  const cut = { threads: backend.threads, agree: library.partsAgree };
  Object.assign(backend, useLibrary(backend, lapack, always, cut), {
    name: "native",
    library: { name, version, path },
    lapack,
  });
  if (!rest.profile && (rest.maxMemoryBytes ?? 0) <= ONE_MEMORY) runLongApart(backend, startLeader);
  return backend as unknown as NativeBackend;
}
