import { ConfigError, DeviceError } from "@lowrank/tensor/backend";

/** The interfaces to a GPU that Dawn may be built with. */
const APIS = ["vulkan", "metal", "d3d12", "d3d11", "opengl", "opengles"] as const;

export type DawnApi = (typeof APIS)[number];

/** Switches of Dawn, by the names of its list (`src/dawn/native/Toggles.cpp`). Dawn leaves out those it does not know. */
export interface Toggles {
  readonly enable?: readonly string[];
  readonly disable?: readonly string[];
}

export interface InstanceOptions {
  /** The interface to the GPU. Default: the platform's first: Metal, D3D12 or Vulkan. */
  api?: DawnApi;
  /** Part of the name of the adapter to take, as `listAdapters` gives it. Default: by `powerPreference`. */
  adapter?: string;
  /** Default: none but `timestamp_quantization` disabled where `profile` is asked for. */
  toggles?: Toggles;
}

// One instance of Dawn for each set of flags. It must outlive its devices, or their next call ends the process; so each
// device holds its own, and nothing else does.
const instances = new Map<string, WeakRef<GPU>>();
const heldBy = new WeakMap<GPUDevice, GPU>();

/** The instance for these options. It lives as long as the devices that `hold` ties to it. */
export async function instanceOf(options: InstanceOptions): Promise<GPU> {
  const flags = flagsOf(options);
  const name = flags.join(" ");
  const create = await load();
  let gpu = instances.get(name)?.deref();
  if (!gpu) instances.set(name, new WeakRef((gpu = create(flags))));
  return gpu;
}

/** Keeps an instance for as long as the device can be reached. */
export function hold(gpu: GPU, device: GPUDevice): void {
  heldBy.set(device, gpu);
}

/** The options as the npm package `webgpu` takes them. */
export function flagsOf({ api, adapter, toggles = {} }: InstanceOptions): string[] {
  if (api !== undefined && !APIS.includes(api)) {
    throw new ConfigError({
      where: "dawn",
      expected: `api to be one of ${APIS.join(", ")}`,
      got: String(api),
    });
  }
  if (adapter === "") {
    throw new ConfigError({
      where: "dawn",
      expected: "adapter to be part of an adapter's name",
      got: "an empty text",
      hint: "listAdapters() gives the names",
    });
  }
  const flags: string[] = [];
  for (const verb of ["enable", "disable"] as const) {
    const names = toggles[verb] ?? [];
    const odd = names.find((name) => !/^\w+$/.test(name));
    if (odd !== undefined) {
      throw new ConfigError({
        where: "dawn",
        expected: `toggles.${verb} to hold names of Dawn's toggles, such as "dump_shaders"`,
        got: JSON.stringify(odd),
      });
    }
    if (names.length > 0) flags.push(`${verb}-dawn-features=${names.join(",")}`);
  }
  if (api !== undefined) flags.push(`backend=${api}`);
  if (adapter !== undefined) flags.push(`adapter=${adapter}`);
  return flags;
}

/** Loads Dawn. Not at import, so that what goes wrong is told in our words. */
async function load(): Promise<(flags: string[]) => GPU> {
  try {
    return (await import("webgpu")).create;
  } catch (cause) {
    throw loadFault(cause, `${process.platform}-${process.arch}`);
  }
}

/** Why Dawn could not be loaded, and what to do. */
export function loadFault(cause: unknown, platform: string): DeviceError {
  const { code, message = String(cause) } = cause as { code?: unknown; message?: string };
  const line = message.split("\n")[0]!;
  const tell = (got: string, hint: string): DeviceError =>
    new DeviceError({ where: "dawn", expected: "Dawn to load", got, hint, cause });
  if (code === "ERR_MODULE_NOT_FOUND") {
    return tell('no package "webgpu"', "install it: npm install webgpu@0.6.2");
  }
  if (code === "MODULE_NOT_FOUND" && line.includes("dawn.node")) {
    return tell(
      `no binary for ${platform} in the package "webgpu"`,
      "it has them for macOS, for Linux and Windows on x64 and arm64; elsewhere use wasm() of @lowrank/backend-wasm",
    );
  }
  const library = /version [`'](GLIBC(?:XX)?_[\d.]+)/.exec(message)?.[1];
  if (library) {
    return tell(
      `a C${library.startsWith("GLIBCXX") ? "++" : ""} library without ${library}`,
      "use Debian 12, Ubuntu 22.04, RHEL 10 or newer (glibc 2.34, libstdc++ of GCC 12), or wasm() of @lowrank/backend-wasm",
    );
  }
  if (/ld-linux|ld-musl|Error relocating|symbol not found/.test(message)) {
    return tell(
      `a system without glibc (${line})`,
      "use a distribution with glibc rather than musl, or wasm() of @lowrank/backend-wasm",
    );
  }
  const missing = /(lib[\w.+-]+\.so[.\d]*): cannot open shared object/.exec(message)?.[1];
  return tell(
    line,
    missing
      ? `install the library ${missing}`
      : "or use wasm() of @lowrank/backend-wasm, which needs no binary",
  );
}
