import { type ErrorParts, LowrankError } from "@lowrank/tensor";

/** Exit statuses of the command. */
export const EXIT = { ok: 0, failed: 1, usage: 2, interrupted: 130 } as const;

/** The command line or a settings file asks for something that there is not. */
export class UsageError extends LowrankError {
  constructor(parts: ErrorParts) {
    super("LOWRANK_USAGE", parts);
  }
}

/** The command was stopped by its signal and has left things so that it can be taken up again. */
export class Interrupted extends Error {
  constructor(message = "stopped") {
    super(message);
    this.name = "Interrupted";
  }
}

/** What an error is to a user. */
export interface Fault {
  /** One line. */
  readonly message: string;
  readonly exitCode: number;
  /** For `--json`. */
  readonly record: Readonly<Record<string, unknown>>;
}

const codeOf = (error: unknown): string => {
  const code = (error as { code?: unknown } | null)?.code;
  return typeof code === "string" ? code : "";
};

/**
 * Turns what was thrown into one line and an exit status. Errors of ours are known by a code that begins with LOWRANK_,
 * and those of the system by their code and path; anything else is a fault in this program and says so.
 */
export function describeFault(error: unknown): Fault {
  const code = codeOf(error);
  const text = error instanceof Error ? error.message : String(error);
  if (error instanceof Interrupted) {
    return fault(text, EXIT.interrupted, { type: "interrupted", message: oneLine(text) });
  }
  if (code.startsWith("LOWRANK_")) {
    const { where, expected, got, hint } = error as Partial<ErrorParts>;
    const exitCode = code === "LOWRANK_USAGE" ? EXIT.usage : EXIT.failed;
    return fault(text, exitCode, { type: "error", code, where, expected, got, hint, message: oneLine(text) });
  }
  const { path, syscall } = (error ?? {}) as { path?: unknown; syscall?: unknown };
  if (code !== "" && typeof syscall === "string") {
    const message = `${typeof path === "string" ? path : "files"}: expected to ${syscall} it, got ${code}; check the path and its permissions`;
    return fault(message, EXIT.failed, { type: "error", code, message: oneLine(message) });
  }
  const message = `lowrank: expected no fault in the program, got ${text}; run again with --debug and report what it prints`;
  return fault(message, EXIT.failed, { type: "error", code: "UNEXPECTED", message: oneLine(message) });
}

const fault = (message: string, exitCode: number, record: Record<string, unknown>): Fault => ({
  message: oneLine(message),
  exitCode,
  record,
});

/** A text in one line, without characters that move a cursor or turn the direction of writing. */
export function oneLine(text: string): string {
  const joined = text.replace(/\s*[\r\n]+\s*/g, " ").trim();
  const cut = joined.length > 1500 ? `${joined.slice(0, 1500)}...` : joined;
  return cut.replace(
    // biome-ignore lint/suspicious/noControlCharactersInRegex: these are what has to go
    /[\u0000-\u001f\u007f-\u009f\u200b-\u200f\u2028-\u202e\u2060-\u2069\ufeff]/g,
    (c) => `\\u${c.charCodeAt(0).toString(16).padStart(4, "0")}`,
  );
}
