// The library that computes, and how a thread of the backend calls it.
import { Worker } from "node:worker_threads";
import { CODE, HOST, linker, type StartHost, THREADS } from "@lowrank/backend-wasm/host";
import { DeviceError } from "@lowrank/tensor/backend";
import { lead, type LeaderData } from "./apart.js";
import { candidates as known, howToInstall } from "./candidates.js";
import { keepOff } from "./cores.js";
import { functionsOf, type Lapack, lapackOf } from "./lapack.js";
import { isMissing, type Koffi, type Library, openLibrary } from "./library.js";
import { askForHugePages } from "./pages.js";
import { startThread, type ThreadData } from "./thread.js";

/** Where in a memory threads tell their numbers, and where it says how many threads there are. */
const PLACES = { told: HOST, threads: THREADS } as const;

export interface Found {
  readonly library: Library;
  readonly lapack: Lapack;
  readonly host: StartHost;
  /** Starts a thread that runs lists in the caller's place, once the backend is there. */
  startLeader(): Worker;
}

/** A library with what threads need to call it, or why there is none and what to do. */
export async function hostOf(asked?: string, candidates = known()): Promise<Found | string> {
  const library = await find(asked, candidates);
  if (typeof library === "string") return library;
  const koffi = await import("koffi");
  const { path, prefix, single } = library;
  const data: ThreadData = {
    from: import.meta.url,
    library: path,
    prefix,
    single,
    functions: functionsOf(library),
  };
  const text = `(memory, module) => (${startThread})(memory, ${JSON.stringify(data)}, ${JSON.stringify(PLACES)}, !!module, ${keepOff})`;
  let leaderData: LeaderData | undefined;
  const start: StartHost = (memory, module, bytes) => {
    askForHugePages(koffi, memory, bytes!);
    leaderData = { module: module!, memory, code: CODE };
    return startThread(memory, data, PLACES, true, keepOff);
  };
  const startLeader = () => {
    const source = `import { parentPort, workerData } from "node:worker_threads"; (${lead})(workerData, parentPort, ${linker}, ${text});`;
    const url = new URL(`data:text/javascript,${encodeURIComponent(source)}`);
    return new Worker(url, { workerData: leaderData, execArgv: [] });
  };
  const host = Object.assign(start, { toString: () => text });
  return { library, lapack: lapackOf(data.functions), host, startLeader };
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
