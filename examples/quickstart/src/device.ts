import { wasm } from "@lowrank/backend-wasm";
import type { Backend } from "@lowrank/tensor";
import type { Settings } from "./settings.js";

interface Start {
  backend: Backend;
  /** What computes, for a reader. */
  on: string;
  /** Threads of the embedded backend; undefined on a GPU. */
  threads: number | undefined;
}

/** Starts the backend that is asked for. Dawn is loaded for a GPU only. */
export async function start({ device, threads }: Pick<Settings, "device" | "threads">): Promise<Start> {
  if (device === "webgpu") {
    const { dawn } = await import("@lowrank/backend-dawn");
    const backend = await dawn();
    return { backend, on: backend.adapter.name, threads: undefined };
  }
  const backend = await wasm(threads === undefined ? {} : { threads });
  return { backend, on: `${backend.threads} threads`, threads: backend.threads };
}
