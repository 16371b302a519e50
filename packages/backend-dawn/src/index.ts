import { create } from "webgpu";
import { requestDevice, type WebGpuBackend, webgpu } from "@lowrank/backend-webgpu";

// One instance of Dawn serves the process, which ends only when nothing refers to it any more.
let instance: GPU | null = null;

/** Starts the WebGPU backend on a device of this machine. */
export async function dawn(): Promise<WebGpuBackend> {
  instance ??= create([]);
  return webgpu({ device: await requestDevice(instance) });
}
