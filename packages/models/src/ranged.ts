import { DownloadError } from "./download-error.js";
import { bodyOf, discard, type FetchOptions, Passing, Patience, request } from "./http.js";
import { showAddress } from "./web-address.js";

/** What a server says of a file, so that a later answer can be held against it. */
export interface Validator {
  /** Strong entity tag, quotes included. */
  readonly etag: string | undefined;
  readonly lastModified: string | undefined;
}

/** Weak tags are left out: two files may share one. */
export function validatorOf(response: Response): Validator {
  const etag = response.headers.get("etag");
  return {
    etag: etag === null || etag.startsWith("W/") ? undefined : etag,
    lastModified: response.headers.get("last-modified") ?? undefined,
  };
}

/** True unless both tell and differ. */
export const sameFile = (a: Validator, b: Validator): boolean =>
  a.etag !== undefined && b.etag !== undefined
    ? a.etag === b.etag
    : a.lastModified === undefined || b.lastModified === undefined || a.lastModified === b.lastModified;

/** A stretch of a file: what is asked for, and what is known of the whole. */
export interface Stretch {
  readonly from: number;
  /** Behind the last byte. */
  readonly to: number;
  /** Length of the whole file. */
  readonly size: number;
  readonly validator: Validator;
  /** The caller holds the whole against a checksum: another tag than before is then no fault by itself. */
  readonly verified?: boolean;
}

/** The start, end and whole length of `Content-Range: bytes 0-99/1234`. */
export function contentRange(response: Response): { from: number; to: number; size: number } | undefined {
  const match = /^bytes (\d{1,15})-(\d{1,15})\/(\d{1,15})$/.exec(response.headers.get("content-range") ?? "");
  if (match === null) return undefined;
  const [from, last, size] = match.slice(1).map(Number) as [number, number, number];
  return from <= last && last < size ? { from, to: last + 1, size } : undefined;
}

/** The file has become another one. */
export const changed = (url: URL, expected: string, got: string): DownloadError =>
  new DownloadError({
    where: showAddress(url),
    expected,
    got,
    hint: "the file has changed on the server or the server is at fault; open it again",
  });

/** An answer that says no, and why it may. */
export function refusal(url: URL, status: number): DownloadError {
  const hint =
    status === 401 || status === 403
      ? "it may be private or ask for consent: set HF_TOKEN to a token that may read it"
      : status === 404 || status === 410
        ? "check the name"
        : undefined;
  return new DownloadError({
    where: showAddress(url),
    expected: "the file",
    got: `status ${status}`,
    hint,
    status,
  });
}

/**
 * The bytes of a stretch in order. After a drop, a stall, or a status that asks to try again, the rest is asked for with
 * `Range` and `If-Range`. A server without ranges sends the file from its start: what is known already is passed over.
 *
 * @throws DownloadError if patience ends, if the file changes on the server, or if answers contradict each other.
 */
export async function* readStretch(
  url: URL,
  { from, to, size, validator, verified = false }: Stretch,
  options: FetchOptions,
): AsyncGenerator<Uint8Array, void, undefined> {
  const patience = new Patience(url, options);
  let known = validator;
  let at = from;
  while (at < to) {
    try {
      const ifRange = known.etag ?? known.lastModified;
      const range = at === 0 && to === size ? undefined : `bytes=${at}-${to - 1}`;
      const headers = {
        ...(range === undefined ? {} : { range }),
        ...(range === undefined || ifRange === undefined ? {} : { "if-range": ifRange }),
      };
      const response = await request(url, { headers }, options);
      let skip: number;
      try {
        skip = startOf(response, url, { from: at, to, size, validator: known, verified });
        if (known.etag === undefined && known.lastModified === undefined) known = validatorOf(response);
      } catch (error) {
        await discard(response);
        throw error;
      }
      for await (const piece of bodyOf(response, options)) {
        if (skip >= piece.byteLength) {
          skip -= piece.byteLength;
          continue;
        }
        const useful = piece.subarray(skip, skip + to - at);
        if (useful.byteLength < piece.byteLength - skip && response.status === 206) {
          throw changed(url, `${to - from} bytes for bytes ${from} to ${to}`, "more");
        }
        skip = 0;
        at += useful.byteLength;
        patience.gained(useful.byteLength);
        if (useful.byteLength > 0) yield useful;
        if (at === to) {
          if (to === size && useful.byteLength < piece.byteLength)
            throw changed(url, `${size} bytes`, "more");
          break;
        }
      }
      if (at < to) throw new Passing(`an end after ${at} of ${to} bytes`);
    } catch (error) {
      await patience.wait(error);
    }
  }
}

/** How many bytes of an answer are to be passed over, after it was held against what is known. */
function startOf(response: Response, url: URL, { from, to, size, validator, verified }: Stretch): number {
  const same = verified === true || sameFile(validator, validatorOf(response));
  const encoding = response.headers.get("content-encoding");
  if (encoding !== null && encoding !== "identity")
    throw changed(url, "bytes as they are", `them in ${encoding}`);
  if (response.status === 206) {
    const range = contentRange(response);
    if (range === undefined || range.from !== from || range.to > to || range.size !== size) {
      const told = response.headers.get("content-range") ?? "no Content-Range";
      throw changed(url, `bytes ${from} to ${to} of ${size}`, `"${told.slice(0, 60)}"`);
    }
    if (!sameFile(validator, validatorOf(response)))
      throw changed(url, "the file that was opened", "another");
    return 0;
  }
  if (response.status !== 200) {
    throw response.status === 416 ? changed(url, `${size} bytes`, "fewer") : refusal(url, response.status);
  }
  const length = response.headers.get("content-length");
  if (!same || (length !== null && Number(length) !== size)) {
    throw changed(url, `the file that was opened, of ${size} bytes`, "another");
  }
  return from;
}
