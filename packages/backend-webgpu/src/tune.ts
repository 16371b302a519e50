import type { GpuContext } from "./context.js";
import { deviceTimer } from "./tune-timer.js";
import { Tuner } from "./tuner.js";

/**
 * Gives the context a tuner, with what `tune` kept of its device.
 *
 * @throws ConfigError if `tune` is neither true nor a store; then the context is disposed of, with a device of its own
 */
export async function startTuner(gpu: GpuContext, tune: unknown): Promise<void> {
  const { limits, adapterInfo, features } = gpu.device;
  const { vendor, architecture, device, description } = adapterInfo ?? {}; // older browsers have none
  const { maxComputeWorkgroupStorageSize, maxComputeInvocationsPerWorkgroup } = limits;
  const f16 = features.has("shader-f16") ? "f16" : "";
  const name = [vendor, architecture, device, description, f16].filter(Boolean).join(", ");
  const adapter = `${name}, ${maxComputeWorkgroupStorageSize}, ${maxComputeInvocationsPerWorkgroup}`;
  try {
    gpu.tuner = await Tuner.start(tune, adapter, deviceTimer(gpu));
  } catch (error) {
    gpu.dispose();
    throw error;
  }
}
