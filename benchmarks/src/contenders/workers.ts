import { resolveObjectURL } from "node:buffer";
import { Worker as NodeWorker } from "node:worker_threads";

const PRELUDE = `
const { parentPort } = require("node:worker_threads");
globalThis.self = globalThis;
globalThis.postMessage = (message) => parentPort.postMessage(message);
parentPort.on("message", (data) => globalThis.onmessage({ data }));
`;

/** As much of a browser's Worker as @jax-js/jax needs: a script behind a blob URL, and messages. */
class BlobWorker {
  onmessage: ((event: { data: unknown }) => void) | null = null;
  onerror: ((error: Error) => void) | null = null;
  private readonly started: Promise<NodeWorker>;

  constructor(url: string) {
    this.started = this.start(url);
    this.started.catch((error: Error) => this.onerror?.(error));
  }

  private async start(url: string): Promise<NodeWorker> {
    const source = await resolveObjectURL(url)!.text();
    const worker = new NodeWorker(PRELUDE + source, { eval: true });
    worker.on("message", (data) => this.onmessage?.({ data }));
    worker.on("error", (error) => this.onerror?.(error));
    return worker;
  }

  postMessage(message: unknown): void {
    void this.started.then((worker) => worker.postMessage(message));
  }
}

/**
 * Gives Node the globals by which the library finds its threads in a browser. Importing this file does it, where more
 * than one thread is asked for: the library looks for them while it is imported itself.
 */
const threads = Number(process.env["BENCH_THREADS"] ?? 1);
if (threads > 1) {
  Object.assign(globalThis, { Worker: BlobWorker });
  Object.defineProperty(globalThis, "navigator", {
    value: { hardwareConcurrency: threads },
    configurable: true,
  });
}
