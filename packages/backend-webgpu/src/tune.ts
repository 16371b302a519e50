import type { GpuContext } from "./context.js";
import { deviceTimer } from "./tune-timer.js";
import { Tuner } from "./tuner.js";

/** A tuner for this device, with what `tune` kept of it. */
export function startTuner(gpu: GpuContext, tune: unknown): Promise<Tuner> {
  const { limits, adapterInfo, features } = gpu.device;
  const { vendor, architecture, device, description } = adapterInfo ?? {}; // older browsers have none
  const { maxComputeWorkgroupStorageSize, maxComputeInvocationsPerWorkgroup } = limits;
  const f16 = features.has("shader-f16") ? "f16" : "";
  const name = [vendor, architecture, device, description, f16].filter(Boolean).join(", ");
  const adapter = `${name}, ${maxComputeWorkgroupStorageSize}, ${maxComputeInvocationsPerWorkgroup}`;
  return Tuner.start(tune, adapter, deviceTimer(gpu));
}
