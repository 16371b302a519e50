import type { Backend, BackendMemory } from "./device.js";
import { DeviceError } from "./errors.js";

let current: Backend | null = null;
let loading: Promise<Backend> | null = null;

/** Chooses the backend on which everything is evaluated from now on. Values of another backend must be read first. */
export function setDefaultBackend(backend: Backend): void {
  current = backend;
  loading = null;
}

/** The backend in use, or null before the first evaluation. */
export const currentBackend = (): Backend | null => current;

/** The backend in use: the one set, or the embedded WebAssembly backend. */
export function defaultBackend(): Promise<Backend> {
  if (current) return Promise.resolve(current);
  loading ??= loadEmbedded();
  return loading;
}

async function loadEmbedded(): Promise<Backend> {
  let wasm: () => Promise<Backend>;
  try {
    ({ wasm } = (await import("@lowrank/backend-wasm")) as { wasm: () => Promise<Backend> });
  } catch (cause) {
    loading = null;
    throw new DeviceError({
      where: "evaluate",
      expected: "a backend",
      got: "none set, and @lowrank/backend-wasm could not be loaded",
      hint: "install @lowrank/backend-wasm, or call setDefaultBackend(...)",
      cause,
    });
  }
  try {
    current ??= await wasm();
    return current;
  } catch (error) {
    loading = null; // its own words say what is missing
    throw error;
  }
}

/** Memory of the backend in use; zeros before the first evaluation. */
export function memory(): BackendMemory {
  return current?.memory() ?? { ownedBytes: 0, arenaBytes: 0, peakBytes: 0 };
}
