import { ConfigError } from "@lowrank/tensor";

/** Makes a test whether a whole string matches a regular expression; throws ConfigError if it is not one. */
export type Compile = (where: string, expression: string) => (text: string) => boolean;

const BEYOND_RE2 = /(?:^|[^\\])(?:\\\\)*(?:\(\?<?[=!]|\\[1-9k])/;

/**
 * With the engine's own matcher, for expressions of the program itself: a bad one can keep it busy for long. The syntax
 * is that of `linearCompile`, so that what was trained with an expression can be loaded again.
 */
export const compile: Compile = (where, expression) => {
  try {
    if (BEYOND_RE2.test(expression)) throw new Error("it looks around or refers back");
    const source = expression.replaceAll("(?P<", "(?<");
    new RegExp(source); // brackets must close in the expression, not in what is put around it
    const whole = new RegExp(`^(?:${source})$`);
    return (text) => whole.test(text);
  } catch (cause) {
    throw refusal(where, expression, cause);
  }
};

/**
 * In time linear in the string, for expressions that came in a file, whoever wrote it. Fetches its matcher, RE2's, when it
 * is called.
 */
export async function linearCompile(): Promise<Compile> {
  const { RE2JS } = await import("re2js");
  return (where, expression) => {
    try {
      const compiled = RE2JS.compile(expression);
      return (text) => compiled.matches(text);
    } catch (cause) {
      throw refusal(where, expression, cause);
    }
  };
}

/** A test whether a path, or its end after a dot, matches an expression: how PEFT reads the keys of its patterns. */
export const suffixMatch = (
  compile: Compile,
  where: string,
  expression: string,
): ((path: string) => boolean) => compile(where, `(?:.*\\.)?(?:${expression})`);

const refusal = (where: string, expression: string, cause: unknown): ConfigError =>
  new ConfigError({
    where,
    expected: "a regular expression (RE2 syntax: no look-around, no back-references)",
    got: JSON.stringify(expression.slice(0, 80)),
    hint: (cause as Error).message,
    cause,
  });
