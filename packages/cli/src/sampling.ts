import type { TextOptions } from "@lowrank/models";
import { choice, integer, real, texts, toggle, type Values } from "./options.js";

/** Options of every command that writes text. */
export const sampling = {
  "max-tokens": integer("Tokens to write at most.", { min: 1 }, { fallback: 256 }),
  stop: texts(
    "Ends before this text; in a settings file also a list of texts.",
    { value: "TEXT", expected: "a text" },
    { otherwise: "none" },
  ),
  temperature: real("Divides the logits; 0 takes the likeliest token.", { min: 0 }, { fallback: 0.8 }),
  "top-k": integer("Draw from the N likeliest tokens only.", { min: 1 }, { otherwise: "all" }),
  "top-p": real(
    "Draw from the likeliest tokens that together have this probability.",
    { min: 0, max: 1 },
    { otherwise: "all" },
  ),
  "min-p": real(
    "Leave out tokens below this share of the likeliest one's probability.",
    { min: 0, max: 1 },
    { otherwise: "none left out" },
  ),
  "repetition-penalty": real(
    "Makes tokens that have come before less likely; 1 leaves them.",
    { min: 0.01 },
    { fallback: 1 },
  ),
  greedy: toggle("Always take the likeliest token."),
};

export const cacheType = choice(
  "Precision of keys and values: f16 takes half the memory of f32.",
  ["f32", "f16"],
  "f32",
);

/** The settings as the library takes them. */
export function textOptions(
  settings: Values<typeof sampling> & { readonly seed: number },
  signal: AbortSignal,
): TextOptions {
  const { temperature } = settings;
  return {
    maxNewTokens: settings["max-tokens"],
    ...(temperature === 0 ? {} : { temperature }),
    topK: settings["top-k"],
    topP: settings["top-p"],
    minP: settings["min-p"],
    repetitionPenalty: settings["repetition-penalty"],
    greedy: settings.greedy || temperature === 0,
    stop: settings.stop ?? [],
    seed: settings.seed,
    signal,
  };
}
