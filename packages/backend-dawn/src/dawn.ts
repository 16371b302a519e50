import { requestDevice, type WebGpuBackend, type WebGpuOptions, webgpu } from "@lowrank/backend-webgpu";
import { type AdapterChoice, adapterOf, type DawnAdapter, describe } from "./adapters.js";
import { hold, instanceOf, type Toggles } from "./instance.js";
import { tuneFile } from "./tune-file.js";

/**
 * Options of Dawn, and those of `webgpu` but for what only a browser has. `tune: true` keeps what was measured in
 * `lowrank/webgpu-tune.json` of the user's cache folder.
 */
export interface DawnOptions extends AdapterChoice, Omit<WebGpuOptions, "device" | "forceFallbackAdapter"> {}

/** The WebGPU backend on a device of this machine. */
export interface DawnBackend extends WebGpuBackend {
  readonly adapter: DawnAdapter;
}

/**
 * Starts the WebGPU backend in Node, on a device that Dawn gives.
 *
 * `dispose` destroys the device and frees its memory. The process ends as soon as it has nothing left to do, with
 * `dispose` or without.
 *
 * @throws DeviceError where Dawn does not load or finds no adapter, with what to install
 * @throws ConfigError if an option is out of range
 *
 * @example
 * ```ts
 * const backend = await dawn();
 * setDefaultBackend(backend);
 * console.log(backend.adapter.name);
 * // … compute …
 * await backend.dispose();
 * ```
 */
export async function dawn(options: DawnOptions = {}): Promise<DawnBackend> {
  const { api, adapter, toggles, powerPreference = "high-performance", ...rest } = options;
  const choice = { api, adapter, powerPreference, toggles: withTimes(toggles, rest.profile === true) };
  const gpu = await instanceOf(choice);
  await adapterOf(gpu, choice); // for an error that says what to install
  const device = await requestDevice(gpu, { powerPreference });
  hold(gpu, device);
  let backend: WebGpuBackend;
  try {
    const tune = rest.tune === true ? tuneFile() : rest.tune;
    backend = await webgpu({ ...rest, ...(tune !== undefined && { tune }), device });
  } catch (error) {
    device.destroy();
    throw error;
  }
  const dispose = backend.dispose.bind(backend);
  return Object.assign(backend, {
    adapter: describe(device.adapterInfo),
    async dispose(): Promise<void> {
      await dispose();
      device.destroy();
    },
  });
}

/** Times to the nanosecond rather than to 0.1 ms: there is no page to guard against. */
function withTimes(toggles: Toggles = {}, profile: boolean): Toggles {
  if (!profile || toggles.enable?.includes("timestamp_quantization")) return toggles;
  return { ...toggles, disable: [...(toggles.disable ?? []), "timestamp_quantization"] };
}
