/**
 * Texts on which a regular expression may be slow: long runs of what each of its open-ended repeats takes, with and without
 * an end that it does not take, and runs of two repeats in a row.
 *
 * @param length About how long a text is to be.
 */
export function slowTexts(expression: RegExp, length: number): string[] {
  const units = [...new Set(new Samples(expression).units())].filter((unit) => unit !== "").slice(0, 8);
  const run = (unit: string): string => unit.repeat(Math.ceil(length / unit.length));
  const texts = new Set<string>();
  for (const unit of units) {
    for (const tail of ENDS) texts.add(run(unit) + tail);
    for (const other of units)
      if (other !== unit) texts.add(run(unit + other)).add(run(unit) + run(other) + "\u0000");
  }
  return [...texts];
}

const ENDS = ["", "\u0000", "!", "a", " "];
/** One of each kind of character that classes tell apart. */
const CHARACTERS = [..."aA1 \n\r\t!.,'\"-_/@#$<(|é中あا\u0301\u01c5\u02b0\u00a0\u200b€😀\u0000"];
const MANY = 16;

/**
 * Reads just enough of the syntax to find what repeats repeat. What it does not understand gives no sample; it decides
 * nothing by itself.
 */
class Samples {
  private at = 0;
  private readonly text: string;
  private readonly flags: string;
  private readonly found: string[] = [];

  constructor(expression: RegExp) {
    this.text = expression.source;
    this.flags = expression.flags.replace(/[gyd]/g, "");
  }

  units(): string[] {
    this.choice();
    return this.found;
  }

  /** Samples of a group's content, one for each alternative. */
  private choice(): string[] {
    const samples: string[] = [];
    for (;;) {
      samples.push(this.sequence());
      if (this.text[this.at] !== "|") return samples;
      this.at++;
    }
  }

  private sequence(): string {
    let sample = "";
    while (this.at < this.text.length && this.text[this.at] !== "|" && this.text[this.at] !== ")") {
      const samples = this.atom();
      const [least, most] = this.repeat();
      if (most > MANY) this.found.push(...samples.slice(0, 3));
      sample += (samples[0] ?? "").repeat(Math.min(least, MANY));
    }
    return sample;
  }

  private atom(): string[] {
    const start = this.at;
    const c = this.text[this.at];
    if (c === "(") {
      const looks = /^\(\?<?[=!]/.test(this.text.slice(start, start + 4));
      this.at += /^\((?:\?(?:<?[=!]|<[^>]*>|[a-z-]*:))?/.exec(this.text.slice(start, start + 80))![0].length;
      const samples = this.choice();
      this.at++; // its closing bracket
      return looks ? [] : samples;
    }
    if (c === "[") this.at = endOfClass(this.text, start);
    else if (c === "\\")
      this.at +=
        /^\\(?:[pP]\{[^}]*\}|u\{[^}]*\}|u....|x..|c.|[\s\S])/.exec(this.text.slice(start, start + 80))?.[0]
          .length ?? 1;
    else this.at += String.fromCodePoint(this.text.codePointAt(start)!).length;
    if (c === "^" || c === "$") return [];
    return this.matching(this.text.slice(start, this.at));
  }

  private matching(atom: string): string[] {
    try {
      const whole = new RegExp(`^(?:${atom})$`, this.flags);
      return CHARACTERS.concat([...atom])
        .filter((character) => whole.test(character))
        .slice(0, 4);
    } catch {
      return [];
    }
  }

  private repeat(): [least: number, most: number] {
    const match = /^(?:([*+?])|\{(\d+)(,?)(\d*)\})[?+]?/.exec(this.text.slice(this.at, this.at + 40));
    if (match === null) return [1, 1];
    this.at += match[0].length;
    const [, sign, low, comma, high] = match;
    if (sign !== undefined) return [sign === "+" ? 1 : 0, sign === "?" ? 1 : Number.POSITIVE_INFINITY];
    return [Number(low), comma === "" ? Number(low) : high === "" ? Number.POSITIVE_INFINITY : Number(high)];
  }
}

function endOfClass(text: string, start: number): number {
  let depth = 0;
  for (let i = start; i < text.length; i++) {
    if (text[i] === "\\") i++;
    else if (text[i] === "[") depth++;
    else if (text[i] === "]" && --depth === 0) return i + 1;
  }
  return text.length;
}
