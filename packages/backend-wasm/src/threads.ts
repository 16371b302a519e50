import type { StartHost } from "./host.js";
import { linker } from "./linker.js";
import { type ThreadData, threadLoop } from "./thread-loop.js";

/** A further thread. */
interface Thread {
  /** Whether it could be started, once that is known. */
  readonly started: Promise<boolean>;
  stop(): void;
}

interface NodeWorker {
  unref(): void;
  terminate(): Promise<number>;
  on(event: "error", listener: (error: unknown) => void): void;
  once(event: "message" | "exit", listener: () => void): void;
}

interface NodeThreads {
  Worker: new (url: URL, options: { workerData: ThreadData; execArgv: string[] }) => NodeWorker;
}

/** A built-in module of Node, without an import that bundlers for the browser would trip over. */
function builtin(name: string): unknown {
  const getBuiltin = (globalThis as { process?: { getBuiltinModule?: (name: string) => unknown } }).process
    ?.getBuiltinModule;
  return getBuiltin?.(name);
}

const isNode = (): boolean => builtin("node:worker_threads") !== undefined;

/** How many threads are sensible here when nobody says: the cores, at most 8, and 1 where the caller must not block. */
export function defaultThreads(): number {
  if (typeof SharedArrayBuffer === "undefined") return 1;
  if (isNode()) {
    const asked = Number(
      (globalThis as { process?: { env: Record<string, string | undefined> } }).process?.env.LOWRANK_THREADS,
    );
    if (Number.isInteger(asked) && asked >= 1) return asked;
    const os = builtin("node:os") as { availableParallelism(): number };
    return Math.min(8, os.availableParallelism());
  }
  return canBlock() ? Math.min(8, globalThis.navigator?.hardwareConcurrency ?? 1) : 1;
}

/** Whether threads can be had: shared memory, and a caller that may wait for them (not the main thread of a page). */
export const canBlock = (): boolean =>
  typeof SharedArrayBuffer !== "undefined" &&
  (isNode() ||
    (globalThis.crossOriginIsolated === true &&
      typeof Worker !== "undefined" &&
      typeof document === "undefined"));

/** Starts one thread. It joins jobs as soon as it is up, and keeps no process alive. */
export function startThread(data: ThreadData, host?: StartHost): Thread {
  const node = builtin("node:worker_threads") as NodeThreads | undefined;
  return node ? startInNode(node, data, host) : startInBrowser(data);
}

function startInNode(node: NodeThreads, data: ThreadData, host?: StartHost): Thread {
  const tellUp = host ? `() => parentPort.postMessage("up")` : "() => {}";
  const source = `import { parentPort, workerData } from "node:worker_threads"; (${threadLoop})(workerData, ${tellUp}, ${linker}, ${host});`;
  const url = new URL(`data:text/javascript,${encodeURIComponent(source)}`);
  const worker = new node.Worker(url, { workerData: data, execArgv: [] });
  // Jobs run without it until it is up, so nobody need wait; but a thread that ends while it loads a library of the host's takes
  // the process with it.
  const started = host
    ? new Promise<boolean>((done) => {
        worker.once("message", () => done(true));
        worker.once("exit", () => done(false));
      }).finally(() => worker.unref())
    : Promise.resolve(true);
  worker.on("error", () => {}); // the machine learns it through the poison word
  if (!host) worker.unref();
  return { started, stop: () => void worker.terminate() };
}

/**
 * The worker's own file comes first, since the policy of a page may forbid workers made of a blob. Where a bundler did
 * not take the file along, or inlined this module somewhere else, the blob is the way that needs no file.
 */
function startInBrowser(data: ThreadData): Thread {
  let worker: Worker | undefined;
  let stopped = false;
  const attempt = (make: () => Worker): Promise<boolean> =>
    new Promise((done) => {
      if (stopped) return done(false);
      try {
        worker = make();
      } catch {
        return done(false); // a policy, or no address to begin from
      }
      worker.onmessage = () => done(true);
      worker.onmessageerror = worker.onerror = (event: Event) => {
        event.preventDefault();
        done(false);
      };
      worker.postMessage(data);
    });
  const started = attempt(fromFile).then((up) => up || attempt(fromBlob));
  return {
    started,
    stop() {
      stopped = true;
      worker?.terminate();
    },
  };
}

// Bundlers know this expression by its form, and give the file an address of their own.
const fromFile = (): Worker => new Worker(new URL("./thread.js", import.meta.url), { type: "module" });

function fromBlob(): Worker {
  const source = `onmessage = ({ data }) => (${threadLoop})(data, () => postMessage("up"), ${linker});`;
  const url = URL.createObjectURL(new Blob([source], { type: "text/javascript" }));
  const worker = new Worker(url);
  for (const event of ["message", "error"]) worker.addEventListener(event, () => URL.revokeObjectURL(url));
  return worker;
}
