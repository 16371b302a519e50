/** What a {@link DownloadError} says. */
export interface DownloadErrorParts {
  /** Address or name of what was fetched, without secrets. */
  where: string;
  expected: string;
  got: string;
  /** What the caller can do about it. */
  hint?: string;
  /** Status of the answer, where there was one. */
  status?: number;
  cause?: unknown;
}

/**
 * Something could not be fetched, or is not what was promised. What had been fetched before is kept where it can be
 * taken up again, and nothing that was not verified stands under its final name.
 */
export class DownloadError extends Error {
  readonly code = "LOWRANK_DOWNLOAD";
  readonly where: string;
  readonly expected: string;
  readonly got: string;
  readonly hint: string | undefined;
  readonly status: number | undefined;

  constructor({ where, expected, got, hint, status, cause }: DownloadErrorParts) {
    super(
      `${where}: expected ${expected}, got ${got}${hint === undefined ? "" : `; ${hint}`}`,
      cause === undefined ? undefined : { cause },
    );
    this.name = "DownloadError";
    this.where = where;
    this.expected = expected;
    this.got = got;
    this.hint = hint;
    this.status = status;
  }
}

/** True for a download error of any copy of this package. */
export const isDownloadError = (error: unknown): error is DownloadError =>
  error instanceof Error && (error as { code?: unknown }).code === "LOWRANK_DOWNLOAD";
