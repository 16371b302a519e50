import { DeviceError } from "@lowrank/tensor/backend";
import { type InstanceOptions, instanceOf } from "./instance.js";

/** An adapter as Dawn names it. */
export interface AdapterName {
  /** The interface to it: "vulkan", "metal", "d3d12", … */
  readonly api: string;
  readonly name: string;
}

/** No adapter has this name: asking for it makes Dawn list those there are. */
const NOBODY = "\u0001";

/**
 * The adapters of this machine, for the options `api` and `adapter` of `dawn`.
 *
 * @returns None where there is no driver.
 * @throws DeviceError if Dawn cannot be loaded
 */
export async function listAdapters(): Promise<AdapterName[]> {
  const gpu = await instanceOf({ adapter: NOBODY });
  try {
    await gpu.requestAdapter();
    return [];
  } catch (error) {
    return namesIn(String((error as Error).message));
  }
}

/** Reads the lines ` * backend: 'vulkan', name: 'llvmpipe (LLVM 15.0.6, 256 bits)'`. */
export function namesIn(message: string): AdapterName[] {
  return [...message.matchAll(/backend: '([^']*)', name: '(.*)'$/gm)].map(([, api, name]) => ({
    api: api!,
    name: name!,
  }));
}

/** What a backend computes on. */
export interface DawnAdapter {
  /** As the driver tells it: "NVIDIA GeForce RTX 4090: 550.54", "llvmpipe: Mesa 25.0.7". */
  readonly name: string;
  /** "nvidia", "amd", "intel", "apple", "mesa", … */
  readonly vendor: string;
  /** The CPU plays the GPU (llvmpipe, SwiftShader, WARP): right, and slower than the Wasm backend. */
  readonly software: boolean;
}

export interface AdapterChoice extends InstanceOptions {
  /** Which adapter to prefer where there are several. Default: "high-performance". */
  powerPreference?: GPUPowerPreference;
}

/**
 * The adapter that `dawn` takes for the same options, without starting it.
 *
 * @throws DeviceError where Dawn does not load or finds no adapter, with what to install
 * @throws ConfigError if an option is out of range
 */
export async function findAdapter(options: AdapterChoice = {}): Promise<DawnAdapter> {
  return describe((await adapterOf(await instanceOf(options), options)).info);
}

/** The adapter for these options, or an error with what to install, or with the names that could be meant. */
export async function adapterOf(gpu: GPU, options: AdapterChoice): Promise<GPUAdapter> {
  const { api, adapter, powerPreference = "high-performance" } = options;
  const wish = [
    "a GPU adapter",
    ...(api === undefined ? [] : [`by ${api}`]),
    ...(adapter === undefined ? [] : [`with the name ${JSON.stringify(adapter)}`]),
  ].join(" ");
  let found: GPUAdapter | null;
  try {
    found = await gpu.requestAdapter({ powerPreference });
  } catch (cause) {
    const { message } = cause as Error;
    const names = namesIn(message);
    throw new DeviceError({
      where: "dawn",
      expected: wish,
      got: names.map((one) => `${one.name} (${one.api})`).join(", ") || message.split("\n")[0]!,
      hint: "adapter takes part of a name that listAdapters() gives",
      cause,
    });
  }
  if (found) return found;
  throw new DeviceError({
    where: "dawn",
    expected: wish,
    got: "none: no usable driver",
    hint: driverHint(process.platform),
  });
}

/** What gives a machine an adapter. */
export function driverHint(platform: string): string {
  const wasm = "or use wasm() of @lowrank/backend-wasm";
  if (platform === "darwin") return `Dawn needs Metal, which a virtual machine may lack; ${wasm}`;
  if (platform === "win32") return `install the driver of the GPU's vendor, with Direct3D 12; ${wasm}`;
  return (
    "install a Vulkan driver: NVIDIA's own, or Mesa 24 or newer for Intel, AMD and software rendering (Debian, Ubuntu: " +
    `libvulkan1 mesa-vulkan-drivers; Fedora: mesa-vulkan-drivers); vulkaninfo --summary shows what is found; ${wasm}`
  );
}

/** Adapters that are programs, by what they call themselves; some do not say `isFallbackAdapter`. */
const SOFTWARE = /llvmpipe|lavapipe|swiftshader|basic render driver|\bwarp\b/i;

export function describe(info: GPUAdapterInfo): DawnAdapter {
  const { vendor, architecture, device, description, isFallbackAdapter } = info;
  return {
    name: description || device || architecture || vendor || "an adapter without a name",
    vendor,
    software: isFallbackAdapter || SOFTWARE.test(`${description} ${device} ${architecture}`),
  };
}
