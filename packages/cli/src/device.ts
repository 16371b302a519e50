import { wasm } from "@lowrank/backend-wasm";
import { type Backend, reference, setDefaultBackend } from "@lowrank/tensor";
import type { Output } from "./output.js";

export interface DeviceSettings {
  readonly device: "auto" | "wasm" | "reference";
  readonly threads: number | undefined;
}

/** Starts the backend that is asked for, runs `work` on it, and shuts it down. */
export async function onDevice<T>(
  settings: DeviceSettings,
  output: Output,
  work: (backend: Backend) => Promise<T>,
): Promise<T> {
  const backend = await start(settings, output);
  setDefaultBackend(backend);
  try {
    return await work(backend);
  } finally {
    await backend.dispose();
  }
}

async function start({ device, threads }: DeviceSettings, output: Output): Promise<Backend> {
  if (device === "reference") return reference();
  try {
    return await wasm(threads === undefined ? {} : { threads });
  } catch (error) {
    const { code, message } = error as { code?: unknown; message: string };
    if (device === "wasm" || code !== "LOWRANK_DEVICE") throw error;
    output.warn(`${message}; computing on the reference backend, which is slow`);
    return reference();
  }
}
