import type { Backend } from "@lowrank/tensor";

/** What the user may ask for. */
export type DeviceChoice = "auto" | "webgpu" | "wasm";

export interface Device {
  backend: Backend;
  /** For people: "WebGPU · NVIDIA Lovelace", "WebAssembly · 8 threads". */
  name: string;
  /** Why it is not a faster one; empty if nothing faster was tried. */
  note: string;
}

/**
 * The fastest device that is there: the GPU, else WebAssembly on all cores where the page is cross-origin isolated, else
 * WebAssembly on one. Only the backend that is used is downloaded.
 */
export async function openDevice(choice: DeviceChoice): Promise<Device> {
  let note = "";
  if (choice !== "wasm") {
    try {
      const { webgpu } = await import("@lowrank/backend-webgpu");
      const backend = await webgpu({ powerPreference: "high-performance" });
      return { backend, name: `WebGPU · ${gpuName(backend.device)}`, note };
    } catch (error) {
      if (choice === "webgpu") throw error;
      note = `No WebGPU here: ${(error as Error).message}. `;
    }
  }
  const { wasm } = await import("@lowrank/backend-wasm");
  const backend = await wasm();
  const { threads } = backend;
  if (!crossOriginIsolated)
    note += "One thread: the server does not send the headers of cross-origin isolation.";
  return { backend, name: `WebAssembly · ${threads} ${threads === 1 ? "thread" : "threads"}`, note };
}

/** The words that the browser gives away about a GPU. */
function gpuName({ adapterInfo: info }: GPUDevice): string {
  const words = info?.description || [info?.vendor, info?.architecture].filter(Boolean).join(" ");
  return words || "GPU";
}
