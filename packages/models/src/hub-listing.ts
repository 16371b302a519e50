import { ConfigError } from "@lowrank/tensor";
import { DownloadError } from "./download-error.js";
import { FormatError, quoteName } from "./format-error.js";
import { bodyOf, discard, type FetchOptions, Patience, request } from "./http.js";
import type { HubName } from "./hub-name.js";
import { type JsonValue, scanJson } from "./json-scan.js";
import { CONVERT, isPickleName, PICKLE } from "./pickle.js";
import { checkFilePath } from "./safe-name.js";

/** A file of a repository. */
export interface HubFile {
  readonly path: string;
  /** Bytes. */
  readonly size: number;
  /** SHA-256 of the content, or for small files the SHA-1 that git gives it; see `contentDigest`. */
  readonly key: string;
}

/** What a repository holds at one commit. */
export interface HubListing {
  readonly repo: string;
  readonly commit: string;
  readonly files: ReadonlyMap<string, HubFile>;
}

const MAX_LISTING_BYTES = 64 << 20;
const MAX_FILES = 100_000;

/** Asks the Hub which commit a revision is, and what it holds. */
export async function fetchListing(
  endpoint: URL,
  { repo, revision }: HubName,
  options: FetchOptions,
): Promise<HubListing> {
  const path = `/api/models/${repo}/revision/${encodeURIComponent(revision)}`;
  const url = new URL(endpoint.pathname.replace(/\/$/, "") + path, endpoint);
  url.search = "?blobs=true";
  const patience = new Patience(url, options);
  for (;;) {
    try {
      const response = await request(url, {}, options);
      if (response.status !== 200) {
        await discard(response);
        throw hubRefusal(`${repo}@${revision}`, endpoint, response);
      }
      return parseListing(await smallBody(response, options, url), repo, url.origin + url.pathname);
    } catch (error) {
      await patience.wait(error);
    }
  }
}

/** Why the Hub says no; it tells in headers of its own. */
export function hubRefusal(name: string, endpoint: URL, response: Response): DownloadError {
  const { status } = response;
  const told = response.headers.get("x-error-code");
  const hint =
    told === "GatedRepo" || status === 403
      ? `accept its terms at ${endpoint.origin}/${name.split("@")[0]} and set HF_TOKEN to a token that may read it`
      : told === "RevisionNotFound"
        ? "there is no such branch, tag or commit"
        : status === 401 || status === 404
          ? "check the name; for a private repository set HF_TOKEN to a token that may read it"
          : undefined;
  return new DownloadError({
    where: name,
    expected: `it on ${endpoint.origin}`,
    got: `status ${status}${told === null ? "" : ` (${told.slice(0, 60)})`}`,
    hint,
    status,
  });
}

async function smallBody(response: Response, options: FetchOptions, url: URL): Promise<Uint8Array> {
  const pieces: Uint8Array[] = [];
  let length = 0;
  for await (const piece of bodyOf(response, options)) {
    length += piece.byteLength;
    if (length > MAX_LISTING_BYTES) {
      throw new DownloadError({
        where: url.origin + url.pathname,
        expected: `a listing of at most ${MAX_LISTING_BYTES} bytes`,
        got: "more",
      });
    }
    pieces.push(piece);
  }
  return new Uint8Array(await new Blob(pieces as BlobPart[]).arrayBuffer());
}

/**
 * Reads the Hub's answer about a revision. Names are checked as those of any stranger, since they become paths.
 *
 * @throws FormatError
 */
export function parseListing(bytes: Uint8Array, repo: string, where: string): HubListing {
  const format = "Hub listing";
  const refuse = (expected: string, got: string): never => {
    throw new FormatError({ format, where, expected, got });
  };
  const root = scanJson(bytes, { where, format, numbers: "any" });
  const commit = root instanceof Map ? root.get("sha") : undefined;
  const siblings = root instanceof Map ? root.get("siblings") : undefined;
  if (typeof commit !== "string" || !/^[0-9a-f]{40}$/.test(commit))
    return refuse("a commit of 40 digits", show(commit));
  if (!Array.isArray(siblings)) return refuse("a list of files", show(siblings));
  if (siblings.length > MAX_FILES) return refuse(`at most ${MAX_FILES} files`, `${siblings.length}`);
  const files = new Map<string, HubFile>();
  const folded = new Set<string>();
  for (const entry of siblings) {
    const member = (name: string): JsonValue | undefined =>
      entry instanceof Map ? entry.get(name) : undefined;
    const path = member("rfilename");
    if (typeof path !== "string") return refuse("every file to have a name", show(path));
    checkFilePath(path, where, format);
    // Two names that differ in case only would be one file under Windows and macOS.
    if (folded.has(path.toLowerCase())) return refuse("every file once", `${quoteName(path)} again`);
    folded.add(path.toLowerCase());
    const large = member("lfs");
    const size = large instanceof Map ? (large.get("size") ?? member("size")) : member("size");
    const key = large instanceof Map ? (large.get("sha256") ?? large.get("oid")) : member("blobId");
    if (typeof size !== "number" || !Number.isSafeInteger(size) || size < 0 || Object.is(size, -0)) {
      return refuse(`a size for ${quoteName(path)}`, show(size));
    }
    if (typeof key !== "string" || !(large instanceof Map ? /^[0-9a-f]{64}$/ : /^[0-9a-f]{40}$/).test(key)) {
      return refuse(`a checksum for ${quoteName(path)}`, show(key));
    }
    files.set(path, { path, size, key });
  }
  return { repo, commit, files };
}

const show = (value: JsonValue | undefined): string =>
  value === undefined ? "nothing" : typeof value === "string" ? quoteName(value) : "something else";

/** In the form that {@link parseListing} reads, to be kept. */
export function listingJson({ commit, files }: HubListing): string {
  const siblings = [...files.values()].map(({ path, size, key }) =>
    key.length === 64
      ? { rfilename: path, lfs: { size, sha256: key } }
      : { rfilename: path, size, blobId: key },
  );
  return JSON.stringify({ sha: commit, siblings });
}

/** Files that a model is loaded from; weights in other formats, pictures and the like stay where they are. */
const TEXTS = /\.(?:json|jinja|txt|model|md)$|^LICENSE/;

/**
 * The files to fetch for a model: configuration, tokenizer, and weights as safetensors, or else the one GGUF file. A file
 * that the name picks comes alone.
 *
 * @throws ConfigError if there are no weights of a kind that is read, or several GGUF files to choose from.
 */
export function modelFiles({ repo, files }: HubListing, file?: string): HubFile[] {
  if (file !== undefined) {
    const picked = files.get(file);
    if (picked !== undefined) return [picked];
    throw new ConfigError({
      where: repo,
      expected: "the name of one of its files",
      got: quoteName(file),
      hint: `it has ${someNames([...files.keys()])}`,
    });
  }
  const all = [...files.values()];
  // Weights for other programs lie in folders such as onnx/ and openvino/; poolings of sentence encoders are json.
  const weights = all.filter(({ path }) => /^[^/]+\.safetensors$/.test(path));
  const texts = all.filter(
    ({ path }) => TEXTS.test(path) && path.split("/").length <= 2 && !/^(?:onnx|openvino)\//.test(path),
  );
  if (weights.length > 0) return [...texts, ...weights];
  const ggufs = all.filter(({ path }) => /\.gguf$/.test(path));
  if (ggufs.length === 1) return [...texts, ...ggufs];
  if (ggufs.length > 1) {
    const names = ggufs.map(({ path }) => path);
    throw new ConfigError({
      where: repo,
      expected: `one GGUF file, picked as ${repo}:NAME`,
      got: `${names.length}`,
      hint: `they are ${someNames(names)}`,
    });
  }
  const pickle = all.find(({ path }) => isPickleName(path));
  throw new ConfigError({
    where: repo,
    expected: "weights as safetensors or GGUF",
    got: pickle === undefined ? `none among ${files.size} files` : `${quoteName(pickle.path)}, ${PICKLE}`,
    hint: pickle === undefined ? "check that this is the repository of a model" : CONVERT,
  });
}

const someNames = (names: readonly string[]): string =>
  names
    .slice(0, 12)
    .map((name) => quoteName(name))
    .join(", ") + (names.length > 12 ? `, and ${names.length - 12} more` : "");
