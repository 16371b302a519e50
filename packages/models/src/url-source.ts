import { DownloadError } from "./download-error.js";
import { bodyOf, discard, type FetchOptions, Patience, request } from "./http.js";
import { changed, contentRange, readStretch, refusal, type Validator, validatorOf } from "./ranged.js";
import { checkFilePath } from "./safe-name.js";
import { type ByteSource, checkRange, type Folder } from "./source.js";
import { showAddress } from "./web-address.js";

export interface UrlOptions extends FetchOptions {
  /** Largest file that is taken as a whole from a server without range requests. Default: 1 GiB. */
  maxWholeBytes?: number | undefined;
}

/** Small reads are served from a window of this size, so that a header costs one request or two. */
const WINDOW_BYTES = 1 << 18;

/**
 * Opens a file on a web server for random access: each read is a range request (RFC 9110, section 14). A server that has
 * no ranges is read once, as a whole.
 *
 * Only https is taken, and http on this machine. Drops, stalls and busy servers are met by further attempts that go on
 * where the last one ended. A file that changes while it is open, as its ETag, its date or its length tell, is refused.
 *
 * @returns undefined if the server knows no such file.
 * @throws DownloadError
 */
export async function openUrlIfPresent(url: URL, options: UrlOptions = {}): Promise<ByteSource | undefined> {
  const patience = new Patience(url, options);
  for (;;) {
    try {
      return await probe(url, options);
    } catch (error) {
      await patience.wait(error);
    }
  }
}

/** As {@link openUrlIfPresent}, where a missing file is an error. */
export async function openUrl(input: string | URL, options: UrlOptions = {}): Promise<ByteSource> {
  const url = parseAddress(input);
  const source = await openUrlIfPresent(url, options);
  if (source === undefined) throw refusal(url, 404);
  return source;
}

/** The files below an address, opened by name: `openUrlFolder("https://example.org/models/tiny/")`. */
export function openUrlFolder(input: string | URL, options: UrlOptions = {}): Folder {
  const base = parseAddress(input);
  if (!base.pathname.endsWith("/")) base.pathname += "/";
  return {
    name: `${base.origin}${base.pathname}`.replace(/\/$/, ""),
    async open(fileName) {
      const path = checkFilePath(fileName, base.origin).split("/").map(encodeURIComponent).join("/");
      const url = new URL(base.pathname + path, base);
      url.search = base.search;
      return openUrlIfPresent(url, options);
    },
  };
}

function parseAddress(input: string | URL): URL {
  if (input instanceof URL) return new URL(input);
  if (URL.canParse(input)) return new URL(input);
  throw new DownloadError({
    where: "openUrl",
    expected: "an address",
    got: JSON.stringify(input.slice(0, 80)),
  });
}

async function probe(url: URL, options: UrlOptions): Promise<ByteSource | undefined> {
  const response = await request(url, { headers: { range: `bytes=0-${WINDOW_BYTES - 1}` } }, options);
  try {
    if (response.status === 404 || response.status === 410) return undefined;
    if (response.status === 416 && response.headers.get("content-range") === "bytes */0") {
      return wholeSource(url, new Uint8Array());
    }
    if (response.status === 200) return await readWhole(url, response, options);
    if (response.status !== 206) throw refusal(url, response.status);
    const encoding = response.headers.get("content-encoding") ?? "identity";
    const range = contentRange(response);
    if (range === undefined || range.from !== 0 || range.to > WINDOW_BYTES || encoding !== "identity") {
      throw new DownloadError({
        where: showAddress(url),
        expected: "Content-Range with the length of the file, and bytes as they are",
        got: `"${response.headers.get("content-range")?.slice(0, 60) ?? ""}" in ${encoding}`,
        hint: "on a page, the server has to expose Content-Range to it (Access-Control-Expose-Headers)",
      });
    }
    const head = await collect(url, response, range.to, options);
    return rangedSource(url, range.size, validatorOf(response), head, options);
  } finally {
    await discard(response);
  }
}

async function readWhole(url: URL, response: Response, options: UrlOptions): Promise<ByteSource> {
  const limit = options.maxWholeBytes ?? 1 << 30;
  const told = response.headers.get("content-length");
  const tooLarge = (got: string): DownloadError =>
    new DownloadError({
      where: showAddress(url),
      expected: `a server with range requests, or at most ${limit} bytes`,
      got,
      hint: "download the file and open it from disk, or raise maxWholeBytes",
    });
  if (told !== null && Number(told) > limit) throw tooLarge(`${told} bytes without ranges`);
  const encoded = (response.headers.get("content-encoding") ?? "identity") !== "identity";
  const size = told === null || encoded ? undefined : Number(told);
  const validator = validatorOf(response);
  const pieces: Uint8Array[] = [];
  let length = 0;
  const take = (piece: Uint8Array): void => {
    length += piece.byteLength;
    if (length > limit) throw tooLarge("more, without ranges");
    pieces.push(piece);
  };
  try {
    for await (const piece of bodyOf(response, options)) take(piece);
    if (size !== undefined && length > size) throw changed(url, `${size} bytes`, `${length}`);
  } catch (error) {
    if (size === undefined || length > size) throw error;
    await new Patience(url, options).wait(error);
  }
  if (size !== undefined && length < size) {
    const rest = { from: length, to: size, size, validator };
    for await (const piece of readStretch(url, rest, options)) take(piece);
  }
  return wholeSource(url, joined(pieces, length));
}

function joined(pieces: readonly Uint8Array[], length: number): Uint8Array {
  const bytes = new Uint8Array(length);
  let at = 0;
  for (const piece of pieces) {
    bytes.set(piece, at);
    at += piece.byteLength;
  }
  return bytes;
}

/** The body of an answer whose length is known. */
async function collect(url: URL, response: Response, size: number, options: UrlOptions): Promise<Uint8Array> {
  const bytes = new Uint8Array(size);
  let at = 0;
  for await (const piece of bodyOf(response, options)) {
    if (at + piece.byteLength > size) throw changed(url, `${size} bytes`, "more");
    bytes.set(piece, at);
    at += piece.byteLength;
  }
  return bytes.subarray(0, at);
}

const wholeSource = (url: URL, bytes: Uint8Array): ByteSource => ({
  name: `${url.origin}${url.pathname}`,
  size: bytes.byteLength,
  async read(offset, length) {
    checkRange(this, offset, length);
    return bytes.subarray(offset, offset + length);
  },
  async close() {},
});

function rangedSource(
  url: URL,
  size: number,
  validator: Validator,
  head: Uint8Array,
  options: UrlOptions,
): ByteSource {
  const name = `${url.origin}${url.pathname}`;
  // The stretch that was read last; of the first answer, as much as came before it broke off.
  let window = { from: 0, bytes: head };
  const closing = new AbortController();
  const signal =
    options.signal === undefined ? closing.signal : AbortSignal.any([options.signal, closing.signal]);
  const fetchStretch = async (from: number, to: number): Promise<Uint8Array> => {
    const bytes = new Uint8Array(to - from);
    let at = 0;
    for await (const piece of readStretch(url, { from, to, size, validator }, { ...options, signal })) {
      bytes.set(piece, at);
      at += piece.byteLength;
    }
    return bytes;
  };
  return {
    name,
    size,
    async read(offset, length) {
      checkRange(this, offset, length);
      if (closing.signal.aborted) throw new Error(`${name}: expected an open file, got a closed one`);
      const end = offset + length;
      if (length >= WINDOW_BYTES) return fetchStretch(offset, end);
      if (offset < window.from || end > window.from + window.bytes.byteLength) {
        const bytes = await fetchStretch(offset, Math.min(size, offset + WINDOW_BYTES));
        window = { from: offset, bytes };
        return bytes.slice(0, length);
      }
      return window.bytes.slice(offset - window.from, end - window.from);
    },
    async close() {
      closing.abort(new Error(`${name}: expected an open file, got a closed one`));
    },
  };
}
