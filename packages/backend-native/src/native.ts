import { wasm, type WasmBackend, type WasmOptions } from "@lowrank/backend-wasm";
import type { Replaceable } from "@lowrank/backend-wasm/host";
import { DeviceError } from "@lowrank/tensor/backend";
import { candidates as known, howToInstall } from "./candidates.js";
import { isMissing, type Koffi, type Library, openLibrary } from "./library.js";
import { useLibrary } from "./kernels.js";
import { startThread, type ThreadData } from "./thread.js";

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
    candidates = known(),
    ...rest
  } = options;
  const found = await find(asked, candidates);
  if (typeof found === "string") {
    onFallback(`native: ${found}`);
    return Object.assign(await wasm(rest), { library: null });
  }
  const { path, prefix, single, name, version } = found;
  const data: ThreadData = { from: import.meta.url, library: path, prefix, single, functions: [] };
  const host = Object.assign((memory: WebAssembly.Memory) => startThread(memory, data), {
    toString: () => `(memory) => (${startThread})(memory, ${JSON.stringify(data)})`,
  });
  const backend = (await wasm({ ...rest, host })) as WasmBackend & Replaceable;
  return Object.assign(backend, useLibrary(backend, always), {
    name: "native",
    library: { name, version, path },
  });
}

/** A library, or why there is none and what to do. */
async function find(asked: string | undefined, candidates: readonly string[]): Promise<Library | string> {
  let koffi: Koffi;
  try {
    koffi = await import("koffi");
  } catch (cause) {
    const got = (cause as Error).message.split("\n")[0]!;
    if (asked === undefined)
      return `koffi, which calls a BLAS, does not load, so WebAssembly computes: ${got}`;
    throw new DeviceError({
      where: "native",
      expected: "koffi to load",
      got,
      hint: "install it again",
      cause,
    });
  }
  if (asked !== undefined) return openLibrary(koffi, asked);
  let refusal = "";
  for (const path of candidates) {
    try {
      const library = openLibrary(koffi, path);
      // The reference BLAS and others that are slower than WebAssembly say no name.
      if (library.name !== "BLAS") return library;
    } catch (error) {
      if (!(error instanceof DeviceError)) throw error;
      if (!isMissing(error)) refusal ||= error.message.replace(/^native: /, "");
    }
  }
  const found =
    refusal === "" ? "no BLAS was found, so WebAssembly computes" : `${refusal}; WebAssembly computes`;
  return `${found}; ${howToInstall()}`;
}
