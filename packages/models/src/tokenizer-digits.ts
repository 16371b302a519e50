import type { JsonObject, JsonValue } from "./json-scan.js";

/**
 * Writes every `Digits` pre-tokenizer as the split that it stands for: the tokenizer library takes the digits 0 to 9 only,
 * the format means every number of Unicode, ½ and ٣ among them.
 */
export function spellOutDigits(value: JsonValue | undefined): void {
  if (Array.isArray(value)) for (const item of value) spellOutDigits(item);
  if (!(value instanceof Map)) return;
  if (value.get("type") === "Digits") {
    const pattern = value.get("individual_digits") === true ? "\\p{N}" : "\\p{N}+";
    value.clear();
    const split: [string, JsonValue][] = [
      ["type", "Split"],
      ["pattern", new Map([["Regex", pattern]]) as JsonObject],
      ["behavior", "Isolated"],
      ["invert", false],
    ];
    for (const [key, member] of split) value.set(key, member);
  } else for (const member of value.values()) spellOutDigits(member);
}
