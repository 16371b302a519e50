import { inverseFrequencies, type RopeScaling as PlainScaling, tensor, type Tensor } from "@lowrank/tensor";
import type { ConfigReader } from "./config.js";

/** How rotary frequencies are changed for texts longer than those of the pretraining, as a `config.json` says it. */
export type RopeScaling =
  | PlainScaling
  | {
      readonly type: "dynamic";
      readonly factor: number;
      /** Up to this length nothing is changed. */
      readonly originalPositions: number;
    }
  | {
      readonly type: "yarn";
      readonly factor: number;
      readonly originalPositions: number;
      /** Factor of cosine and sine. */
      readonly attentionFactor: number;
      /** Pairs that turn more often than this within the original length keep their frequency. */
      readonly betaFast: number;
      /** Pairs that turn less often have it divided by the factor. */
      readonly betaSlow: number;
      /** Whether the bounds between are rounded to whole pairs. */
      readonly truncate: boolean;
    }
  | {
      readonly type: "longrope";
      readonly originalPositions: number;
      readonly attentionFactor: number;
      /** Divisors of the frequencies, one per pair, for texts up to the original length, and for longer ones. */
      readonly shortFactor: readonly number[];
      readonly longFactor: readonly number[];
    };

const MAX_POSITIONS = 2 ** 31 - 1;

/** What the parser has to know of the rest of the configuration. */
export interface RopeContext {
  headDim: number;
  maxPositions: number;
  /** `original_max_position_embeddings` beside the scaling, which goes before one inside. */
  originalPositions?: number | undefined;
}

/** Reads `rope_scaling` or `rope_parameters`; null where nothing is scaled. */
export function parseRopeScaling(read: ConfigReader | undefined, about: RopeContext): RopeScaling | null {
  if (read === undefined) return null;
  for (const name of ["full_attention", "sliding_attention"]) {
    if (read.raw(name) !== undefined)
      read.fail(name, "absent", "rotary settings per kind of layer are not read");
  }
  const partial = read.positive("partial_rotary_factor", 1);
  if (partial !== 1) read.fail("partial_rotary_factor", "1", "heads that turn in part are not read");
  const name = read.raw("rope_type") === undefined ? "type" : "rope_type";
  const type = read.text(name, "default");
  switch (type) {
    case "default":
      return null;
    case "linear":
      return { type, factor: read.positive("factor") };
    case "dynamic":
      return { type, factor: read.positive("factor"), originalPositions: about.maxPositions };
    case "llama3": {
      const lowFrequencyFactor = read.positive("low_freq_factor");
      const highFrequencyFactor = read.positive("high_freq_factor");
      if (highFrequencyFactor <= lowFrequencyFactor)
        read.fail("high_freq_factor", `above low_freq_factor (${lowFrequencyFactor})`);
      const originalPositions = original(read, about);
      return {
        type,
        factor: read.positive("factor"),
        lowFrequencyFactor,
        highFrequencyFactor,
        originalPositions,
      };
    }
    case "yarn":
      return parseYarn(read, about);
    case "longrope":
    case "su": // as the first files spelled it
      return parseLongRope(read, about);
    default:
      return read.fail(name, '"default", "linear", "dynamic", "llama3", "yarn" or "longrope"');
  }
}

const original = (read: ConfigReader, about: RopeContext): number =>
  about.originalPositions ??
  read.integer("original_max_position_embeddings", about.maxPositions, 1, MAX_POSITIONS);

function parseYarn(read: ConfigReader, about: RopeContext): RopeScaling {
  const originalPositions = original(read, about);
  const factor = read.positive("factor", about.maxPositions / originalPositions);
  // Peng et al. 2023, arXiv:2309.00071, eq. (22).
  const scale = (m: number): number => (factor <= 1 ? 1 : 0.1 * m * Math.log(factor) + 1);
  const [one, all] = [read.raw("mscale"), read.raw("mscale_all_dim")];
  const both = Boolean(one) && Boolean(all);
  const usual = both ? scale(read.positive("mscale")) / scale(read.positive("mscale_all_dim")) : scale(1);
  const betaFast = read.positive("beta_fast", 32);
  const betaSlow = read.positive("beta_slow", 1);
  if (betaFast < betaSlow) read.fail("beta_fast", `at least beta_slow (${betaSlow})`);
  return {
    type: "yarn",
    factor,
    originalPositions,
    attentionFactor: read.positive("attention_factor", usual),
    betaFast,
    betaSlow,
    truncate: read.boolean("truncate", true),
  };
}

function parseLongRope(read: ConfigReader, about: RopeContext): RopeScaling {
  const originalPositions = original(read, about);
  const factor = read.positive("factor", about.maxPositions / originalPositions);
  const factors = (name: string): number[] => {
    const value = read.raw(name);
    const pairs = about.headDim / 2;
    const fits =
      Array.isArray(value) &&
      value.length === pairs &&
      value.every((f) => typeof f === "number" && f > 0 && Number.isFinite(f));
    return fits ? (value as number[]) : read.fail(name, `a list of ${pairs} positive numbers, one per pair`);
  };
  // Ding et al. 2024, arXiv:2402.13753, as the models that came with it have it.
  const usual = factor <= 1 ? 1 : Math.sqrt(1 + Math.log(factor) / Math.log(originalPositions));
  return {
    type: "longrope",
    originalPositions,
    attentionFactor: read.positive("attention_factor", usual),
    shortFactor: factors("short_factor"),
    longFactor: factors("long_factor"),
  };
}

/** The scaling as `config.json` has it. */
export function ropeScalingJson(scaling: RopeScaling | null): Record<string, unknown> | null {
  if (scaling === null) return null;
  const { type: rope_type } = scaling;
  switch (scaling.type) {
    case "linear":
    case "dynamic":
      return { rope_type, factor: scaling.factor };
    case "llama3":
      return {
        rope_type,
        factor: scaling.factor,
        low_freq_factor: scaling.lowFrequencyFactor,
        high_freq_factor: scaling.highFrequencyFactor,
        original_max_position_embeddings: scaling.originalPositions,
      };
    case "yarn":
      return {
        rope_type,
        factor: scaling.factor,
        attention_factor: scaling.attentionFactor,
        beta_fast: scaling.betaFast,
        beta_slow: scaling.betaSlow,
        original_max_position_embeddings: scaling.originalPositions,
        truncate: scaling.truncate,
      };
    case "longrope":
      return {
        rope_type,
        attention_factor: scaling.attentionFactor,
        short_factor: scaling.shortFactor,
        long_factor: scaling.longFactor,
        original_max_position_embeddings: scaling.originalPositions,
      };
  }
}

/** Factor of cosine and sine, so of queries and keys alike. */
export const rotaryFactor = (scaling: RopeScaling | null): number =>
  scaling?.type === "yarn" || scaling?.type === "longrope" ? scaling.attentionFactor : 1;

/** Whether frequencies depend on how long the text is. */
export const dependsOnLength = (scaling: RopeScaling | null): boolean =>
  scaling?.type === "dynamic" || scaling?.type === "longrope";

/** The angles by which the pairs of a head turn from one position to the next, [dim / 2] f32, in a text of `length`. */
export function rotaryFrequencies(
  dim: number,
  theta: number,
  scaling: RopeScaling | null,
  length: number,
): Tensor {
  switch (scaling?.type) {
    case undefined:
    case "linear":
    case "llama3":
      return inverseFrequencies(dim, { theta, scaling: scaling ?? undefined });
    case "dynamic": {
      // The base grows with the text, so that the slowest pair turns as far as before: "NTK-aware" in arXiv:2309.00071,
      // section 3.1, with the length of the text in place of a fixed one (section 3.3).
      const { factor, originalPositions } = scaling;
      const stretch = (factor * Math.max(length, originalPositions)) / originalPositions - (factor - 1);
      return inverseFrequencies(dim, { theta: theta * stretch ** (dim / Math.max(dim - 2, 1)) });
    }
    case "yarn": {
      const kept = yarnShares(dim, theta, scaling);
      return frequencies(dim, theta, (f, i) => f * kept[i]! + (f / scaling.factor) * (1 - kept[i]!));
    }
    case "longrope": {
      const divisors = length > scaling.originalPositions ? scaling.longFactor : scaling.shortFactor;
      return frequencies(dim, theta, (f, i) => f / divisors[i]!);
    }
  }
}

function frequencies(dim: number, theta: number, change: (f: number, pair: number) => number): Tensor {
  return tensor(Float32Array.from({ length: dim / 2 }, (_, i) => change(theta ** ((-2 * i) / dim), i)));
}

/** How much of its own frequency each pair keeps: 1 for fast pairs, 0 for slow ones, a ramp between; eq. (18) and (20). */
function yarnShares(dim: number, theta: number, s: Extract<RopeScaling, { type: "yarn" }>): number[] {
  // The pair that turns so often within the original length.
  const pair = (turns: number): number =>
    (dim * Math.log(s.originalPositions / (turns * 2 * Math.PI))) / (2 * Math.log(theta));
  const [fast, slow] = [pair(s.betaFast), pair(s.betaSlow)];
  const low = Math.max(s.truncate ? Math.floor(fast) : fast, 0);
  const high = Math.min(s.truncate ? Math.ceil(slow) : slow, dim - 1);
  const width = low === high ? 0.001 : high - low;
  return Array.from({ length: dim / 2 }, (_, i) => 1 - Math.min(1, Math.max(0, (i - low) / width)));
}
