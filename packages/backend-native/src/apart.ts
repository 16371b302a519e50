// Long plans run on a thread of their own, so that the caller's event loop stays alive.
import type { Worker } from "node:worker_threads";
import type { Linked, Linker, StartHost, WithMachine } from "@lowrank/backend-wasm/host";
import { type Backend, costOf, type Group } from "@lowrank/tensor/backend";

/** What the thread gets. */
export interface LeaderData {
  readonly module: WebAssembly.Module;
  readonly memory: WebAssembly.Memory;
  /** Where the code of loops is told. */
  readonly code: number;
}

/**
 * The life of the thread that runs lists in the caller's place, and answers when one has ended. Its text is sent there: it uses
 * nothing from outside and names no function inside.
 */
export const lead = (
  { module, memory, code }: LeaderData,
  port: Pick<Worker, "on" | "postMessage">,
  linker: Linker,
  startHost: StartHost,
): void => {
  const linked: Linked = { table: null, host: startHost(memory, module) };
  const { exports } = new WebAssembly.Instance(module, {
    env: { memory, link: linker(memory, code, linked) },
    Math: Math as unknown as WebAssembly.ModuleImports,
  });
  linked.table = exports["table"] as WebAssembly.Table;
  port.postMessage("up");
  port.on("message", ([list, count]: [number, number]) => {
    linked.host!.lead?.();
    (exports["runList"] as (list: number, count: number, wake: number) => void)(list, count, 1);
    port.postMessage("done");
  });
};

/** A plan that takes so long goes apart. */
const LONG_MS = 30;

/**
 * Lets a backend run its long plans apart, one plan at a time. While one runs, what is freed stays as it is, since the plan
 * may be reading it; and reads wait, since the plan may be writing a parameter.
 */
export function runLongApart(backend: Backend & WithMachine, startLeader: () => Worker): void {
  const { machine, emit } = backend;
  let leader: Worker | null = null;
  /** Fulfilled when it has loaded the library: to end it before would end the process. */
  let up: Promise<void> | null = null;
  /** Fulfilled when the plan that runs apart has ended, however it did. */
  let running: Promise<void> | null = null;
  let settle: ((failure?: unknown) => void) | null = null;
  const later: (() => void)[] = [];

  const apart = (list: number, count: number): Promise<void> => {
    if (!leader) {
      const started = startLeader()
        .on("message", (what) => void (what === "done" && settle?.()))
        .on("error", (error) => settle?.(error));
      up = new Promise((resolve) => started.once("message", resolve));
      leader = started;
    }
    leader.ref(); // the process lives as long as somebody waits
    leader.postMessage([list, count]);
    const ended = new Promise<void>((resolve, reject) => {
      settle = (failure) => {
        running = settle = null;
        leader!.unref();
        for (const act of later.splice(0)) act();
        try {
          machine.failure ??= failure;
          machine.runList(0, 0, 0); // throws where it failed
          resolve();
        } catch (error) {
          reject(error as Error);
        }
      };
    });
    running = ended.catch(() => {});
    return ended;
  };

  const idle = <A extends unknown[]>(act: (...args: A) => void, of: object) => {
    return (...args: A): void => {
      if (running) later.push(() => act.apply(of, args));
      else act.apply(of, args);
    };
  };
  machine.heap.free = idle(machine.heap.free, machine.heap);
  machine.ensureScratch = idle(machine.ensureScratch, machine);

  let estimate = 0;
  backend.emit = (group, ctx) => {
    estimate += msOf(group);
    emit(group, ctx);
  };
  const [prepare, read, dispose] = [backend.prepare, backend.read, backend.dispose];
  backend.prepare = (graph) => {
    estimate = 0;
    const plan = prepare.call(backend, graph);
    let long = estimate >= LONG_MS; // until it is known how long it takes
    const run = plan.run.bind(plan);
    plan.run = (bindings) => {
      if (running) return running.then(() => plan.run(bindings));
      const began = performance.now();
      const note = () => void (long = performance.now() - began >= LONG_MS);
      machine.apart = long ? apart : undefined;
      try {
        const ran = run(bindings);
        return ran ? ran.then(note) : note();
      } finally {
        machine.apart = undefined;
      }
    };
    return plan;
  };
  backend.read = (buffer, bytes) =>
    running ? running.then(() => backend.read(buffer, bytes)) : read.call(backend, buffer, bytes);
  backend.dispose = () => {
    dispose.call(backend);
    void up?.then(() => leader!.terminate());
    settle?.("disposed");
  };
}

/** Operations in a ms on one thread, about: of products, of decompositions, of loops; and bytes. */
const PRODUCTS = { f32: 8e7, f64: 4e7 };
const DECOMPOSED = 1e7;
const LOOPS = 2e6;
const BYTES = 8e6;

/** The ms that a group takes about. What a package above brings is taken for a decomposition, some 10 m n min(m, n). */
function msOf(group: Group): number {
  const { bytes, flops } = costOf(group);
  if (group.kind === "loop") return Math.max(bytes / BYTES, flops / LOOPS);
  const rate = group.outputs[0]!.dtype === "f64" ? PRODUCTS.f64 : PRODUCTS.f32;
  const input = group.inputs[0];
  if (!group.op.kernels || !input || !("value" in input)) return Math.max(bytes / BYTES, flops / rate);
  const least = Math.min(...input.dims.slice(-2));
  return (10 * input.dims.reduce((a, b) => a * b, least)) / DECOMPOSED;
}
