import type { ConfigReader } from "./config.js";
import { MAX_POSITIONS } from "./llama-config.js";

/** One window for all layers, or none where the field is null. */
export function uniformWindows(read: ConfigReader, layers: number, fallback: number): (number | null)[] {
  const given = read.has("sliding_window");
  const window =
    given && read.raw("sliding_window") === undefined
      ? null
      : read.integer("sliding_window", fallback, 1, MAX_POSITIONS);
  return new Array<number | null>(layers).fill(window);
}

/**
 * Windows as Qwen has them: off unless `use_sliding_window`, then for the layers that `layer_types` calls
 * `sliding_attention`, or without it for those from `max_window_layers` on.
 */
export function layerWindows(read: ConfigReader, layers: number): (number | null)[] {
  const off = new Array<null>(layers).fill(null);
  if (!read.boolean("use_sliding_window", false)) return off;
  if (read.has("sliding_window") && read.raw("sliding_window") === undefined) return off;
  const window = read.integer("sliding_window", 4096, 1, MAX_POSITIONS);
  const types = read.raw("layer_types");
  if (types === undefined) {
    const first = read.integer("max_window_layers", 28, 0, MAX_POSITIONS);
    return off.map((_, i) => (i >= first ? window : null));
  }
  const known = ["full_attention", "sliding_attention"];
  if (!Array.isArray(types) || types.length !== layers || !types.every((type) => known.includes(type))) {
    return read.fail("layer_types", `a list of ${layers} of "full_attention" and "sliding_attention"`);
  }
  return types.map((type) => (type === "sliding_attention" ? window : null));
}

/** The fields that {@link layerWindows} reads. */
export function layerWindowsJson(windows: readonly (number | null)[]): Record<string, unknown> {
  const window = windows.find((w) => w !== null) ?? null;
  return {
    layer_types: windows.map((w) => (w === null ? "full_attention" : "sliding_attention")),
    sliding_window: window,
    use_sliding_window: window !== null,
  };
}
