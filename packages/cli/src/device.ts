import { type NativeBackend, native } from "@lowrank/backend-native";
import { wasm, type WasmBackend } from "@lowrank/backend-wasm";
import { writeFileAtomic } from "@lowrank/models";
import { type Backend, setDefaultBackend } from "@lowrank/tensor";
import {
  chromeTrace,
  DeviceError,
  formatProfile,
  type ProfileRow,
  type ProfileTimeline,
} from "@lowrank/tensor/backend";
import { reference } from "@lowrank/tensor/reference";
import { oneLine } from "./fault.js";
import type { Output } from "./output.js";

export const DEVICES = ["auto", "webgpu", "native", "wasm", "reference"] as const;

export interface DeviceSettings {
  readonly device: (typeof DEVICES)[number];
  readonly threads: number | undefined;
  /** Whether to tell at the end where the time went. Default: false. */
  readonly profile?: boolean;
  /** File for a Chrome trace. Default: none. */
  readonly trace?: string | undefined;
}

/** Starts the backend that is asked for, runs `work` on it, tells where the time went if asked, and shuts it down. */
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
    try {
      if ("profile" in backend) await tellProfile(backend as Measured, settings, output);
    } finally {
      await backend.dispose();
    }
  }
}

/** A backend that can say where the time went. */
interface Measured extends Backend {
  profile(): readonly ProfileRow[] | Promise<readonly ProfileRow[]>;
  timeline(): ProfileTimeline | Promise<ProfileTimeline>;
}

const profiles = ({ profile, trace }: DeviceSettings): boolean => profile === true || trace !== undefined;

async function tellProfile(backend: Measured, settings: DeviceSettings, output: Output): Promise<void> {
  if (settings.profile) {
    const rows = await backend.profile();
    output.record({ type: "profile", rows });
    output.text(`\n${formatProfile(rows)}\n`);
  }
  if (settings.trace === undefined) return;
  const timeline = await backend.timeline();
  await writeFileAtomic(settings.trace, JSON.stringify(chromeTrace(timeline)));
  output.record({
    type: "trace",
    path: settings.trace,
    spans: timeline.spans.length,
    dropped: timeline.dropped,
  });
  output.table([["trace", `${settings.trace}, opens in chrome://tracing and ui.perfetto.dev`]]);
}

async function start(settings: DeviceSettings, output: Output): Promise<Backend> {
  const { device } = settings;
  if (device === "reference") return reference();
  if (device === "wasm") return startWasm(settings);
  if (device === "native") return startNative(settings, (why) => output.warn(why));
  return device === "webgpu" ? startGpu(settings, output) : startBest(settings, output);
}

const startWasm = (settings: DeviceSettings): Promise<WasmBackend> => wasm(optionsOf(settings));

const startNative = (settings: DeviceSettings, onFallback: (why: string) => void): Promise<NativeBackend> =>
  native({ ...optionsOf(settings), onFallback });

const optionsOf = (settings: DeviceSettings): { profile: boolean; threads?: number } => {
  const { threads } = settings;
  return { profile: profiles(settings), ...(threads === undefined ? {} : { threads }) };
};

async function startGpu(settings: DeviceSettings, output: Output): Promise<Backend> {
  const dawn = await loadDawn();
  if (!dawn) {
    throw new DeviceError({
      where: "--device webgpu",
      expected: "the package @lowrank/backend-dawn",
      got: "none",
      hint: INSTALL,
    });
  }
  const backend = await dawn.dawn({ profile: profiles(settings) });
  const { name, software } = backend.adapter;
  if (software) output.warn(`${name} is software; --device wasm is faster on the same cores`);
  return backend;
}

/** A GPU if there is one, else a BLAS, else WebAssembly, else the reference, with a line that says which and why. */
async function startBest(settings: DeviceSettings, output: Output): Promise<Backend> {
  const tell = (device: string, on: string, why?: string): void => {
    output.record({ type: "device", device, on, why });
    output.note(`computing on ${device}, ${on}${why === undefined ? "" : ` (${why})`}`);
  };
  let why: string;
  try {
    const dawn = await loadDawn();
    const adapter = await dawn?.findAdapter();
    if (dawn && adapter && !adapter.software) {
      const backend = await dawn.dawn({ profile: profiles(settings) });
      tell("webgpu", adapter.name);
      return backend;
    }
    why = `no GPU: ${adapter ? `${adapter.name} is software` : `for one, ${INSTALL}`}`;
  } catch (error) {
    why = `no GPU: ${oneLine((error as Error).message)}`;
  }
  try {
    const backend = await startNative(settings, (reason) => {
      why += `; ${reason}`;
    });
    const { library } = backend;
    const threads = backend.threads === 1 ? "one thread" : `${backend.threads} threads`;
    tell(backend.name, library ? `${library.name} ${library.version} on ${threads}` : threads, why);
    return backend;
  } catch (error) {
    const { code, message } = error as { code?: unknown; message: string };
    if (code !== "LOWRANK_DEVICE") throw error;
    output.warn(`${message}; computing on the reference backend, which is slow`);
    return reference();
  }
}

const INSTALL = "npm install @lowrank/backend-dawn beside @lowrank/cli";

/** The package with Dawn, or null. Its binaries take 132 MB, so that only those install it who want it. */
async function loadDawn(): Promise<typeof import("@lowrank/backend-dawn") | null> {
  try {
    return await import("@lowrank/backend-dawn");
  } catch (error) {
    const { code } = error as { code?: unknown };
    if (code === "ERR_MODULE_NOT_FOUND" || code === "MODULE_NOT_FOUND") return null;
    throw error;
  }
}
