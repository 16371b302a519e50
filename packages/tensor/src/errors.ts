/**
 * What every error of this project carries: a stable `code` to tell families apart (two copies of a package may be
 * installed, so `instanceof` is not reliable), where it arose, what was expected, what came, and what to do.
 */
export interface ErrorParts {
  /** The function or option that found the fault, in the caller's words. */
  where: string;
  /** What would have been accepted. */
  expected: string;
  /** What came instead. */
  got: string;
  /** What the caller can do about it. */
  hint?: string;
  cause?: unknown;
}

/** The message `where: expected X, got Y; hint`. */
export function formatError({ where, expected, got, hint }: ErrorParts): string {
  return `${where}: expected ${expected}, got ${got}${hint ? `; ${hint}` : ""}`;
}

/** Base of all errors that a caller can act on. */
export class LowrankError extends Error {
  readonly code: string;
  readonly where: string;
  readonly expected: string;
  readonly got: string;
  readonly hint: string | undefined;

  constructor(code: string, parts: ErrorParts) {
    super(formatError(parts), parts.cause === undefined ? undefined : { cause: parts.cause });
    this.name = new.target.name;
    this.code = code;
    this.where = parts.where;
    this.expected = parts.expected;
    this.got = parts.got;
    this.hint = parts.hint;
  }
}

/** A shape does not fit. */
export class ShapeError extends LowrankError {
  constructor(parts: ErrorParts) {
    super("LOWRANK_SHAPE", parts);
  }
}

/** A dtype does not fit. */
export class DTypeError extends LowrankError {
  constructor(parts: ErrorParts) {
    super("LOWRANK_DTYPE", parts);
  }
}

/** An option, argument or setting does not fit. */
export class ConfigError extends LowrankError {
  constructor(parts: ErrorParts) {
    super("LOWRANK_CONFIG", parts);
  }
}

/** A device is missing, lost, out of memory, or the wrong one. */
export class DeviceError extends LowrankError {
  constructor(parts: ErrorParts) {
    super("LOWRANK_DEVICE", parts);
  }
}

/** A tensor was asked for after a parameter that it depends on had been overwritten. */
export class StaleError extends LowrankError {
  constructor(parts: ErrorParts) {
    super("LOWRANK_STALE", parts);
  }
}

/** An impossible state: a bug of ours, never the caller's. */
export function bug(what: string): never {
  throw new Error(`lowrank bug: ${what}; please report it`);
}
