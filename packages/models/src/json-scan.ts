import { FormatError, quoteName } from "./format-error.js";

/** A JSON value as the scanner gives it: objects are Maps, so that a key is never a property. */
export type JsonValue = null | boolean | number | string | JsonValue[] | JsonObject;
export type JsonObject = Map<string, JsonValue>;

export interface JsonScanOptions {
  /** File name, for messages. */
  where: string;
  /** Kind of file, for messages. Default: `json`. */
  format?: string;
  /** Offset of the first byte in its file, for messages. Default: 0. */
  offset?: number;
  /** Deepest nesting of arrays and objects. Default: 64. */
  maxDepth?: number;
  /**
   * `exact` refuses an integer beyond 2⁵³ - 1, which a double would round; `natural` also refuses signs, fractions and
   * exponents; `any` takes the nearest double (Hugging Face writes 10³⁰ for "no limit"). Default: `exact`.
   */
  numbers?: "exact" | "natural" | "any";
}

const QUOTE = 0x22;
const BACKSLASH = 0x5c;
/** Half a surrogate pair. */
export const LONE_SURROGATE: RegExp = /\p{Surrogate}/u;

const ESCAPES: Readonly<Record<number, string>> = {
  34: '"',
  92: "\\",
  47: "/",
  98: "\b",
  102: "\f",
  110: "\n",
  114: "\r",
  116: "\t",
};

/**
 * Reads JSON from bytes and refuses what `JSON.parse` lets through: a key given twice (the last would win), an integer
 * that a double cannot hold (it would be rounded), bytes that are not UTF-8 (they would be replaced), half a surrogate
 * pair, and nesting without bound. Grammar: RFC 8259; the whole input must be one value with white space around it.
 *
 * @throws FormatError with the byte offset of the fault.
 */
export function scanJson(bytes: Uint8Array, options: JsonScanOptions): JsonValue {
  return new Scanner(bytes, options).document();
}

class Scanner {
  private at = 0;
  private depth = 0;
  private readonly decoder = new TextDecoder("utf-8", { fatal: true, ignoreBOM: true });
  private readonly maxDepth: number;
  private readonly numbers: "exact" | "natural" | "any";

  constructor(
    private readonly bytes: Uint8Array,
    private readonly options: JsonScanOptions,
  ) {
    this.maxDepth = options.maxDepth ?? 64;
    this.numbers = options.numbers ?? "exact";
  }

  document(): JsonValue {
    this.space();
    const value = this.value();
    this.space();
    if (this.at < this.bytes.length) this.refuse("the end of the JSON", this.found());
    return value;
  }

  private refuse(expected: string, got: string, at = this.at): never {
    throw new FormatError({
      format: this.options.format ?? "json",
      where: this.options.where,
      offset: (this.options.offset ?? 0) + at,
      expected,
      got,
    });
  }

  /** What stands at the present place, for messages. */
  private found(): string {
    const byte = this.bytes[this.at];
    if (byte === undefined) return "the end of the data";
    return byte > 0x20 && byte < 0x7f
      ? `"${String.fromCharCode(byte)}"`
      : `byte 0x${byte.toString(16).padStart(2, "0")}`;
  }

  private space(): void {
    for (;;) {
      const byte = this.bytes[this.at];
      if (byte !== 0x20 && byte !== 0x0a && byte !== 0x0d && byte !== 0x09) return;
      this.at++;
    }
  }

  private value(): JsonValue {
    switch (this.bytes[this.at]) {
      case 0x7b:
        return this.object();
      case 0x5b:
        return this.array();
      case QUOTE:
        return this.string();
      case 0x74:
        return this.word("true", true);
      case 0x66:
        return this.word("false", false);
      case 0x6e:
        return this.word("null", null);
      default:
        return this.number();
    }
  }

  private word<T>(text: string, value: T): T {
    for (let i = 0; i < text.length; i++) {
      if (this.bytes[this.at + i] !== text.charCodeAt(i)) this.refuse(`"${text}"`, "something else");
    }
    this.at += text.length;
    return value;
  }

  private enter(): void {
    if (++this.depth > this.maxDepth) this.refuse(`at most ${this.maxDepth} nested levels`, "more");
    this.at++;
    this.space();
  }

  private object(): JsonObject {
    const members: JsonObject = new Map();
    this.enter();
    if (this.bytes[this.at] === 0x7d) {
      this.at++;
      this.depth--;
      return members;
    }
    for (;;) {
      const keyAt = this.at;
      if (this.bytes[keyAt] !== QUOTE) this.refuse("a key in quotes", this.found());
      const key = this.string();
      if (members.has(key)) this.refuse("every key once", `${quoteName(key)} again`, keyAt);
      this.space();
      if (this.bytes[this.at] !== 0x3a) this.refuse('":" after a key', this.found());
      this.at++;
      this.space();
      members.set(key, this.value());
      this.space();
      if (this.next(0x7d)) return members;
    }
  }

  private array(): JsonValue[] {
    const items: JsonValue[] = [];
    this.enter();
    if (this.bytes[this.at] === 0x5d) {
      this.at++;
      this.depth--;
      return items;
    }
    for (;;) {
      items.push(this.value());
      this.space();
      if (this.next(0x5d)) return items;
    }
  }

  /** After an item: true at the closing bracket, false after a comma. */
  private next(close: number): boolean {
    const byte = this.bytes[this.at];
    if (byte === close) {
      this.at++;
      this.depth--;
      return true;
    }
    if (byte !== 0x2c) this.refuse(`"," or "${String.fromCharCode(close)}"`, this.found());
    this.at++;
    this.space();
    return false;
  }

  private string(): string {
    const open = this.at++;
    let start = this.at;
    let text = "";
    for (;;) {
      const byte = this.bytes[this.at];
      if (byte === undefined) this.refuse("a closing quote", "the end of the data", open);
      if (byte === QUOTE) {
        text += this.decode(start);
        this.at++;
        if (LONE_SURROGATE.test(text)) this.refuse("whole Unicode characters", "half a surrogate pair", open);
        return text;
      }
      if ((byte as number) < 0x20) this.refuse("control characters to be escaped", this.found());
      if (byte === BACKSLASH) {
        text += this.decode(start) + this.escape();
        start = this.at;
      } else this.at++;
    }
  }

  private decode(start: number): string {
    if (start === this.at) return "";
    try {
      return this.decoder.decode(this.bytes.subarray(start, this.at));
    } catch {
      return this.refuse("UTF-8", "bytes that are not", start);
    }
  }

  private escape(): string {
    const kind = this.bytes[this.at + 1];
    if (kind === 0x75) {
      let code = 0;
      for (let i = 2; i < 6; i++) {
        const digit = Number.parseInt(String.fromCharCode(this.bytes[this.at + i] ?? 0), 16);
        if (Number.isNaN(digit)) this.refuse("four hexadecimal digits after \\u", "something else");
        code = code * 16 + digit;
      }
      this.at += 6;
      return String.fromCharCode(code);
    }
    const plain = kind === undefined ? undefined : ESCAPES[kind];
    if (plain === undefined) this.refuse("an escape that JSON knows", "another");
    this.at += 2;
    return plain as string;
  }

  private number(): number {
    const start = this.at;
    const digits = () => {
      const first = this.at;
      while (this.bytes[this.at]! >= 0x30 && this.bytes[this.at]! <= 0x39) this.at++;
      if (this.at === first) this.refuse(first === start ? "a value" : "a digit", this.found());
      return first;
    };
    if (this.bytes[this.at] === 0x2d) this.at++;
    const first = digits();
    if (this.bytes[first] === 0x30 && this.at > first + 1) this.refuse("no leading zero", "one", first);
    let whole = true;
    if (this.bytes[this.at] === 0x2e) {
      whole = false;
      this.at++;
      digits();
    }
    if (this.bytes[this.at] === 0x65 || this.bytes[this.at] === 0x45) {
      whole = false;
      this.at++;
      if (this.bytes[this.at] === 0x2b || this.bytes[this.at] === 0x2d) this.at++;
      digits();
    }
    const length = this.at - start;
    if (this.numbers === "natural" && (!whole || first !== start)) {
      this.refuse("a whole number that is not negative", "another number", start);
    }
    if (length > 400) this.refuse("a number of at most 400 characters", `${length}`, start);
    const value = Number(this.decode(start));
    if (this.numbers !== "any" && whole && !Number.isSafeInteger(value)) {
      this.refuse("an integer of at most 2^53 - 1", "a larger one", start);
    }
    if (!Number.isFinite(value)) this.refuse("a number that a double can hold", "a larger one", start);
    return value;
  }
}

/**
 * A scanned value as plain data: objects without a prototype, so that no key of a file can reach one.
 */
export function toPlain(value: JsonValue): unknown {
  if (value instanceof Map) {
    const plain = Object.create(null) as Record<string, unknown>;
    for (const [key, member] of value) plain[key] = toPlain(member);
    return plain;
  }
  return Array.isArray(value) ? value.map(toPlain) : value;
}
