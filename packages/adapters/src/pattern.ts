import { ConfigError } from "@lowrank/tensor";
import { RE2JS } from "re2js";

/**
 * A test whether a whole string matches a regular expression, in time linear in the string whoever wrote the expression.
 * The syntax is RE2's: no look-around and no back-references.
 *
 * @throws ConfigError if it is not one.
 */
export function wholeMatch(where: string, expression: string): (text: string) => boolean {
  try {
    const compiled = RE2JS.compile(expression);
    return (text) => compiled.matches(text);
  } catch (cause) {
    throw new ConfigError({
      where,
      expected: "a regular expression (RE2 syntax: no look-around, no back-references)",
      got: JSON.stringify(expression.slice(0, 80)),
      hint: cause instanceof Error ? cause.message : undefined,
      cause,
    });
  }
}

/** A test whether a path, or its end after a dot, matches an expression: how PEFT reads the keys of its patterns. */
export const suffixMatch = (where: string, expression: string): ((path: string) => boolean) =>
  wholeMatch(where, `(?:.*\\.)?(?:${expression})`);
