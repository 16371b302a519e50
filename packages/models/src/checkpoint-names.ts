import type { Architecture } from "./architecture.js";

/** Buffers that old checkpoints carry and models compute. */
const COMPUTED = /(^|\.)(rotary_emb\.inv_freq|embeddings\.position_ids)$/;
/** As the first checkpoints called weight and bias of a norm. */
const OLD_NORM = /\.LayerNorm\.(gamma|beta)$/;

/**
 * The tensors of a file by the names that a model has for them: with or without the name of the base model before them,
 * under their old names too, without those that are computed. What the model has no place for keeps its name.
 */
export function byModelName<T>(
  file: ReadonlyMap<string, T>,
  wanted: { has(name: string): boolean },
  { base, ignored }: Pick<Architecture, "base" | "ignored">,
): Map<string, T> {
  const found = new Map<string, T>();
  for (const [stored, entry] of file) {
    if (COMPUTED.test(stored) || ignored?.test(stored)) continue;
    const name = stored.replace(OLD_NORM, (_, kind) => `.LayerNorm.${kind === "gamma" ? "weight" : "bias"}`);
    const names = base === undefined ? [name] : [name, `${base}.${name}`, withoutBase(name, base)];
    const own = names.find((n) => wanted.has(n));
    found.set(own !== undefined && !found.has(own) ? own : stored, entry);
  }
  return found;
}

const withoutBase = (name: string, base: string): string =>
  name.startsWith(`${base}.`) ? name.slice(base.length + 1) : name;

/** Whether a file has a tensor of the base model, under either name. */
export const hasTensor =
  (file: ReadonlyMap<string, unknown>, base: string | undefined) =>
  (name: string): boolean =>
    file.has(name) || (base !== undefined && file.has(`${base}.${name}`));
