import { FormatError, quoteName } from "./format-error.js";
import { slowTexts } from "./regex-samples.js";

/** Lengths at which an expression is tried: short ones first, where high powers show before they hurt. */
const LENGTHS = [32, 128, 512, 2048, 8192, 16_384];
/** A linear expression takes well under a millisecond for the longest text, a quadratic one tens of them. */
const LIMIT_MS = 15;
/** Four times the text takes a linear expression four times as long, however slow the machine; a quadratic one sixteen times. */
const LIMIT_GROWTH = 8;

/** Expressions that have passed, by flags and source. */
const passed = /* @__PURE__ */ new Set<string>();

/**
 * Refuses an expression from a file whose time grows faster than the text, as far as texts made of its own repeats show: it
 * is tried on runs of up to 16,384 characters. What grows exponentially must have been refused before.
 *
 * @throws FormatError
 */
export function checkRegexTime(expression: RegExp, where: string): void {
  const key = `${expression.flags}/${expression.source}`;
  if (passed.has(key)) return;
  const global = new RegExp(
    expression.source,
    expression.flags.includes("g") ? expression.flags : `${expression.flags}g`,
  );
  for (const length of LENGTHS) {
    for (const [i, text] of slowTexts(global, length).entries()) {
      if (timeOf(global, text) <= LIMIT_MS) continue;
      const leastMs = leastTimeOf(global, text);
      const quarter = slowTexts(global, length / 4)[i] ?? text.slice(0, length / 4);
      if (leastMs <= LIMIT_MS || leastMs < LIMIT_GROWTH * leastTimeOf(global, quarter)) continue;
      throw new FormatError({
        format: "tokenizer",
        where,
        expected: "a regular expression whose time grows as the text does",
        got: `${leastMs.toFixed(0)} ms for a run of ${text.length} characters by ${quoteName(expression.source)}`,
      });
    }
  }
  if (passed.size > 1000) passed.clear();
  passed.add(key);
}

/** The least of three times: another program may have had the processor meanwhile. */
const leastTimeOf = (expression: RegExp, text: string): number =>
  Math.min(...[0, 1, 2].map(() => timeOf(expression, text)));

function timeOf(expression: RegExp, text: string): number {
  const began = performance.now();
  text.replace(expression, "");
  return performance.now() - began;
}

/** The expressions in the parts of a tokenizer, wherever they stand. */
export function expressionsIn(value: unknown, depth = 0, found: Set<RegExp> = new Set()): Set<RegExp> {
  if (value instanceof RegExp) found.add(value);
  else if (depth < 8 && value !== null && (typeof value === "object" || typeof value === "function")) {
    if (value instanceof Map || (Array.isArray(value) && value.length > 1000)) return found;
    for (const [name, member] of Object.entries(value))
      if (name !== "config") expressionsIn(member, depth + 1, found);
  }
  return found;
}
