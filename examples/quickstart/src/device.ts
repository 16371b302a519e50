import { wasm } from "@lowrank/backend-wasm";
import type { Backend } from "@lowrank/tensor";
import type { Settings } from "./settings.js";

interface Start {
  backend: Backend;
  /** What computes, for a reader. */
  on: string;
  /** Threads; undefined on a GPU. */
  threads: number | undefined;
}

/** Starts the backend that is asked for. Dawn, and what calls a BLAS, are loaded where they are wanted. */
export async function start({ device, threads }: Pick<Settings, "device" | "threads">): Promise<Start> {
  if (device === "webgpu") {
    const { dawn } = await import("@lowrank/backend-dawn");
    const backend = await dawn();
    return { backend, on: backend.adapter.name, threads: undefined };
  }
  const options = threads === undefined ? {} : { threads };
  if (device === "native") {
    const { native } = await import("@lowrank/backend-native");
    const backend = await native(options);
    const { library } = backend;
    const on = library ? `${library.name} ${library.version} on ${backend.threads} threads` : "no BLAS: wasm";
    return { backend, on, threads: backend.threads };
  }
  const backend = await wasm(options);
  return { backend, on: `${backend.threads} threads`, threads: backend.threads };
}
