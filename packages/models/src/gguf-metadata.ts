import { FormatError, quoteName } from "./format-error.js";
import type { GgufValue } from "./gguf-types.js";

/** Reads entries of a file's metadata, each checked; says which key is at fault. */
export class GgufMetadata {
  constructor(
    private readonly where: string,
    private readonly entries: ReadonlyMap<string, GgufValue>,
  ) {}

  has(key: string): boolean {
    return this.entries.has(key);
  }

  fail(key: string, expected: string): never {
    throw new FormatError({
      format: "gguf",
      where: this.where,
      expected: `${key} to be ${expected}`,
      got: show(this.entries.get(key)),
    });
  }

  text(key: string, fallback?: string): string {
    const value = this.entries.get(key)?.value ?? fallback;
    return typeof value === "string" ? value : this.fail(key, "a string");
  }

  boolean(key: string, fallback: boolean): boolean {
    const value = this.entries.get(key)?.value ?? fallback;
    return typeof value === "boolean" ? value : this.fail(key, "a bool");
  }

  /** A whole number from 0 on; an array that repeats one counts as it. */
  integer(key: string, fallback?: number): number {
    const entry = this.entries.get(key);
    let value: unknown = entry?.value ?? fallback;
    if (entry?.type === "array" && entry.value.length > 0) {
      const items = Array.from(entry.value as ArrayLike<unknown>);
      if (items.some((item) => item !== items[0])) this.fail(key, "the same number for every layer");
      value = items[0];
    }
    if (typeof value === "bigint" && value <= BigInt(Number.MAX_SAFE_INTEGER)) value = Number(value);
    if (typeof value !== "number" || !Number.isSafeInteger(value) || value < 0) {
      return this.fail(key, "a whole number");
    }
    return value;
  }

  number(key: string, fallback?: number): number {
    const value = this.entries.get(key)?.value ?? fallback;
    return typeof value === "number" && Number.isFinite(value) ? value : this.fail(key, "a number");
  }

  /** A number in f32, as the decimal number with the fewest digits that rounds to it: 1e-5, not 9.999999747378752e-6. */
  decimal(key: string, fallback?: number): number {
    const value = this.number(key, fallback);
    for (let digits = 1; digits <= 9; digits++) {
      const short = Number(value.toPrecision(digits));
      if (Math.fround(short) === Math.fround(value)) return short;
    }
    return value;
  }

  /** The ids of special tokens that are named, each once. */
  tokenIds(...names: string[]): number[] {
    const keys = names.map((name) => `tokenizer.ggml.${name}_token_id`).filter((key) => this.has(key));
    return [...new Set(keys.map((key) => this.integer(key)))];
  }

  /** An array of strings, or undefined where there is none. */
  texts(key: string): readonly string[] | undefined {
    const entry = this.entries.get(key);
    if (entry === undefined) return undefined;
    return entry.type === "array" && entry.of === "string"
      ? entry.value
      : this.fail(key, "an array of strings");
  }

  /** An array of numbers, or undefined where there is none. */
  numbers(key: string): ArrayLike<number> | undefined {
    const entry = this.entries.get(key);
    if (entry === undefined) return undefined;
    if (entry.type !== "array" || entry.of === "string" || entry.of === "bool")
      return this.fail(key, "an array of numbers");
    return Float64Array.from(entry.value as ArrayLike<number | bigint>, Number);
  }
}

function show(entry: GgufValue | undefined): string {
  if (entry === undefined) return "nothing";
  if (entry.type === "array") return `an array of ${entry.value.length} of type ${entry.of}`;
  if (entry.type === "string") return quoteName(entry.value);
  return `${entry.value} of type ${entry.type}`;
}
