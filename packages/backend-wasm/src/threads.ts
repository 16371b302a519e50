/** What a further thread gets. */
interface ThreadData {
  readonly module: WebAssembly.Module;
  readonly memory: WebAssembly.Memory;
  readonly thread: number;
  /** Addresses by which a thread that dies tells the others. */
  readonly active: number;
  readonly poison: number;
}

interface Thread {
  stop(): void;
}

interface NodeWorker {
  unref(): void;
  terminate(): Promise<number>;
  on(event: "error", listener: (error: unknown) => void): void;
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

// A thread leaves `work` only when it is told to quit or when a kernel traps; then the caller must not wait for it.
const BODY = `({ module, memory, thread, active, poison }) => {
  try {
    new WebAssembly.Instance(module, { env: { memory } }).exports.work(thread);
  } catch (error) {
    const words = new Int32Array(memory.buffer);
    Atomics.store(words, poison >> 2, 1);
    Atomics.sub(words, active >> 2, 1);
    Atomics.notify(words, active >> 2);
    throw error;
  }
}`;
const NODE_SOURCE = `import { workerData } from "node:worker_threads"; (${BODY})(workerData);`;
const WEB_SOURCE = `onmessage = ({ data }) => (${BODY})(data);`;

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

/** Starts one thread. It joins jobs as soon as it is up; nobody waits for it, and it keeps no process alive. */
export function startThread(data: ThreadData): Thread {
  const node = builtin("node:worker_threads") as NodeThreads | undefined;
  if (node) {
    const url = new URL(`data:text/javascript,${encodeURIComponent(NODE_SOURCE)}`);
    const worker = new node.Worker(url, { workerData: data, execArgv: [] });
    worker.on("error", () => {}); // the machine learns it through the poison word
    worker.unref();
    return { stop: () => void worker.terminate() };
  }
  const url = URL.createObjectURL(new Blob([WEB_SOURCE], { type: "text/javascript" }));
  const worker = new Worker(url);
  worker.onmessageerror = worker.onerror = () => {};
  worker.postMessage(data);
  return {
    stop() {
      worker.terminate();
      URL.revokeObjectURL(url);
    },
  };
}
