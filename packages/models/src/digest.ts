import { nodeBuiltin } from "./node-builtin.js";

/** A hash that takes its input piece by piece. */
export interface Digest {
  update(bytes: Uint8Array): void;
  /** Lower-case hexadecimal digits. */
  hex(): string;
}

const toHex = (bytes: Uint8Array): string =>
  Array.from(bytes, (byte) => byte.toString(16).padStart(2, "0")).join("");

/** SHA-256 or SHA-1 of the host; where it has none that takes pieces (a browser), one in JavaScript is fetched. */
async function digest(algorithm: "sha256" | "sha1"): Promise<Digest> {
  const crypto = nodeBuiltin("node:crypto");
  if (crypto !== undefined) {
    const hash = crypto.createHash(algorithm);
    return { update: (bytes) => void hash.update(bytes), hex: () => hash.digest("hex") };
  }
  const { sha256 } = await import("@noble/hashes/sha2.js");
  const { sha1 } = await import("@noble/hashes/legacy.js");
  const hash = (algorithm === "sha256" ? sha256 : sha1).create();
  return { update: (bytes) => void hash.update(bytes), hex: () => toHex(hash.digest()) };
}

/**
 * The name of a content: its SHA-256 (64 digits), or for files that git keeps by itself the SHA-1 of
 * `blob <size>\0<content>` (40 digits).
 */
export async function contentDigest(key: string, size: number): Promise<Digest> {
  if (key.length === 64) return digest("sha256");
  const hash = await digest("sha1");
  hash.update(new TextEncoder().encode(`blob ${size}\0`));
  return hash;
}
