import { FormatError, quoteName } from "./format-error.js";

const MAX_LENGTH = 10_000;
const MANY = 16; // a bounded repeat beyond this counts as unbounded

/**
 * Refuses a regular expression from a tokenizer file that can take exponential time: an open-ended repeat of a group
 * that itself holds an open-ended repeat or a choice, as in `(a+)+` or `(a|ab)*`, and any back-reference. The patterns
 * of the published tokenizers (GPT-2, GPT-4, Llama 3, Qwen, DeepSeek, BLOOM) pass. Quadratic time, as theirs take on a
 * long run of white space, is not excluded.
 *
 * @throws FormatError naming the construct.
 */
export function checkTokenizerRegex(pattern: string, where: string): void {
  const refuse: (expected: string, got: string) => never = (expected, got) => {
    throw new FormatError({ format: "tokenizer", where, expected, got: `${got} in ${quoteName(pattern)}` });
  };
  if (pattern.length > MAX_LENGTH)
    refuse(`a pattern of at most ${MAX_LENGTH} characters`, `${pattern.length}`);
  const groups: { risky: boolean }[] = [{ risky: false }];
  let closed: { risky: boolean } | undefined; // the group that ended just before
  let i = 0;
  while (i < pattern.length) {
    const c = pattern[i] as string;
    let repeat: "none" | "few" | "many" = "none";
    if (c === "\\") {
      if (/[1-9kg]/.test(pattern[i + 1] ?? "")) refuse("no back-reference", "one");
      closed = undefined;
      i += 2;
      continue;
    }
    if (c === "[") {
      i = endOfClass(pattern, i);
      closed = undefined;
      continue;
    }
    if (c === "(") {
      groups.push({ risky: false });
      closed = undefined;
      i++;
      continue;
    }
    if (c === ")") {
      closed = groups.pop();
      if (closed === undefined || groups.length === 0) refuse("balanced parentheses", "a spare one");
      // Risk is inherited: ((a+))+ is as bad as (a+)+.
      if (closed.risky) (groups.at(-1) as { risky: boolean }).risky = true;
      i++;
      continue;
    }
    if (c === "|") (groups.at(-1) as { risky: boolean }).risky = true;
    else if (c === "*" || c === "+") repeat = "many";
    else if (c === "{") {
      const bounds = /^\{(\d*)(,?)(\d*)\}/.exec(pattern.slice(i, i + 24));
      if (bounds !== null) {
        const most =
          bounds[2] === ""
            ? Number(bounds[1])
            : bounds[3] === ""
              ? Number.POSITIVE_INFINITY
              : Number(bounds[3]);
        repeat = most > MANY ? "many" : "few";
        i += bounds[0].length - 1;
      }
    }
    if (repeat === "many") {
      if (closed?.risky) refuse("no open-ended repeat of a group with a repeat or a choice in it", "one");
      (groups.at(-1) as { risky: boolean }).risky = true;
    }
    closed = undefined;
    i++;
  }
}

/** Index behind a character class, which may hold others in Oniguruma's syntax. */
function endOfClass(pattern: string, start: number): number {
  let depth = 0;
  for (let i = start; i < pattern.length; i++) {
    if (pattern[i] === "\\") i++;
    else if (pattern[i] === "[") depth++;
    else if (pattern[i] === "]" && --depth === 0) return i + 1;
  }
  return pattern.length;
}
