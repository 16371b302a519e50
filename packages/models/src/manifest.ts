import { FormatError } from "./format-error.js";
import { scanJson, toPlain } from "./json-scan.js";
import { requireBuiltin } from "./node-builtin.js";
import { checkFileName } from "./safe-name.js";

/** One file of a folder. */
export interface FileRecord {
  readonly name: string;
  /** Bytes. */
  readonly size: number;
  /** In lower-case hexadecimal digits. */
  readonly sha256: string;
}

/** What `manifest.json` says of its folder. */
export interface FolderManifest {
  readonly files: readonly FileRecord[];
  /** What the writer added, such as the step of a checkpoint. */
  readonly fields: Readonly<Record<string, unknown>>;
}

export const MANIFEST_NAME = "manifest.json";
const FORMAT = "lowrank-manifest";
const VERSION = 1;
const MAX_BYTES = 16 << 20;

const sha256 = (text: string): string =>
  requireBuiltin("node:crypto", "manifest").createHash("sha256").update(text).digest("hex");

/** As it will read after a round trip, so that both sides hash the same text. */
const canonical = (value: unknown, where: string): string =>
  JSON.stringify(
    toPlain(scanJson(new TextEncoder().encode(JSON.stringify(value)), { where, format: "manifest" })),
  );

/**
 * The text of a manifest. Its last member is the SHA-256 of the others, so that a flipped bit in a step number is found
 * as surely as one in the weights.
 */
export function encodeManifest(
  files: readonly FileRecord[],
  fields: Readonly<Record<string, unknown>>,
): { manifest: FolderManifest; text: string } {
  const body = canonical({ format: FORMAT, version: VERSION, files, fields }, MANIFEST_NAME);
  const parsed = JSON.parse(body) as FolderManifest & { format: string; version: number };
  const text = `${JSON.stringify({ ...parsed, sha256: sha256(body) }, null, 1)}\n`;
  return { manifest: { files: parsed.files, fields: parsed.fields }, text };
}

/** @throws FormatError if it is no manifest, of a later version, or damaged. */
export async function parseManifest(
  content: AsyncIterable<Uint8Array>,
  where: string,
): Promise<FolderManifest> {
  const refuse = (expected: string, got: string): never => {
    throw new FormatError({ format: "manifest", where, expected, got });
  };
  const parts: Uint8Array[] = [];
  let size = 0;
  for await (const part of content) {
    parts.push(part);
    size += part.byteLength;
    if (size > MAX_BYTES) return refuse(`at most ${MAX_BYTES} bytes`, "more");
  }
  const bytes = new Uint8Array(size);
  let at = 0;
  for (const part of parts) {
    bytes.set(part, at);
    at += part.byteLength;
  }
  const root = scanJson(bytes, { where, format: "manifest" });
  if (!(root instanceof Map) || root.get("format") !== FORMAT)
    return refuse(`"format": "${FORMAT}"`, "something else");
  if (root.get("version") !== VERSION) return refuse(`version ${VERSION}`, `${String(root.get("version"))}`);
  const stated = root.get("sha256");
  root.delete("sha256");
  const actual = sha256(JSON.stringify(toPlain(root)));
  if (stated !== actual) return refuse(`SHA-256 ${actual} of its own members`, String(stated));
  const { files, fields } = toPlain(root) as { files: FileRecord[]; fields: Record<string, unknown> };
  if (!Array.isArray(files) || fields === null || typeof fields !== "object") {
    return refuse("a list of files and an object of fields", "something else");
  }
  for (const file of files) {
    if (
      typeof file?.name !== "string" ||
      !Number.isSafeInteger(file.size) ||
      typeof file.sha256 !== "string"
    ) {
      return refuse("name, size and sha256 of each file", "something else");
    }
    checkFileName(file.name, where, "manifest");
  }
  return { files, fields };
}
