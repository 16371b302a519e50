/** What a {@link FormatError} says. */
export interface FormatErrorParts {
  /** Kind of file: `safetensors`, `json`, `tokenizer`, `manifest`, `file`, ... */
  format: string;
  /** File name or function that found the fault. */
  where: string;
  /** What would have been accepted. */
  expected: string;
  /** What is there instead. */
  got: string;
  /** Byte offset in the file, where one can be named. */
  offset?: number;
  /** What the caller can do about it. */
  hint?: string;
  cause?: unknown;
}

/**
 * A file that cannot be accepted. Nothing of it has been used: the file is closed again and no output was written.
 *
 * The message reads `where: expected X, got Y (format, byte N); hint`.
 */
export class FormatError extends Error {
  readonly code = "LOWRANK_FORMAT";
  readonly format: string;
  readonly where: string;
  readonly expected: string;
  readonly got: string;
  readonly offset: number | undefined;
  readonly hint: string | undefined;

  constructor(parts: FormatErrorParts) {
    const place = parts.offset === undefined ? parts.format : `${parts.format}, byte ${parts.offset}`;
    super(
      `${parts.where}: expected ${parts.expected}, got ${parts.got} (${place})${parts.hint ? `; ${parts.hint}` : ""}`,
      parts.cause === undefined ? undefined : { cause: parts.cause },
    );
    this.name = "FormatError";
    this.format = parts.format;
    this.where = parts.where;
    this.expected = parts.expected;
    this.got = parts.got;
    this.offset = parts.offset;
    this.hint = parts.hint;
  }
}

/** True for a format error of any copy of this package. */
export function isFormatError(error: unknown): error is FormatError {
  return error instanceof Error && (error as { code?: unknown }).code === "LOWRANK_FORMAT";
}

/**
 * A name from a file, fit for a message: in quotes, control characters escaped, cut after 80 characters. The cut never
 * parts a surrogate pair.
 */
export function quoteName(name: string): string {
  let head = name.slice(0, 80);
  if (/[\ud800-\udbff]$/.test(head)) head = head.slice(0, -1);
  const escaped = JSON.stringify(head).replace(
    /[\u007f-\u009f\u200b-\u200f\u2028-\u202e\u2060-\u2069\ufeff]/g,
    (c) => `\\u${c.charCodeAt(0).toString(16).padStart(4, "0")}`,
  );
  return name.length > head.length ? `${escaped.slice(0, -1)}..." (${name.length} characters)` : escaped;
}
