import { chromeTrace, formatProfile, wasm, type WasmBackend } from "@lowrank/backend-wasm";
import { writeFileAtomic } from "@lowrank/models";
import { type Backend, setDefaultBackend } from "@lowrank/tensor";
import { reference } from "@lowrank/tensor/reference";
import type { Output } from "./output.js";

export interface DeviceSettings {
  readonly device: "auto" | "wasm" | "reference";
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
      if ("timeline" in backend) await tellProfile(backend as WasmBackend, settings, output);
    } finally {
      await backend.dispose();
    }
  }
}

const profiles = ({ profile, trace }: DeviceSettings): boolean => profile === true || trace !== undefined;

async function tellProfile(backend: WasmBackend, settings: DeviceSettings, output: Output): Promise<void> {
  if (settings.profile) {
    const rows = backend.profile();
    output.record({ type: "profile", rows });
    output.text(`\n${formatProfile(rows)}\n`);
  }
  if (settings.trace === undefined) return;
  const timeline = backend.timeline();
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
  const { device, threads } = settings;
  if (device === "reference") return reference();
  try {
    return await wasm({ profile: profiles(settings), ...(threads === undefined ? {} : { threads }) });
  } catch (error) {
    const { code, message } = error as { code?: unknown; message: string };
    if (device === "wasm" || code !== "LOWRANK_DEVICE") throw error;
    output.warn(`${message}; computing on the reference backend, which is slow`);
    return reference();
  }
}
