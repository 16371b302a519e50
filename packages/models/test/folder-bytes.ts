import type { FileContent } from "@lowrank/models";

/** The files of a folder, each in one piece. */
export async function bytesOf(files: ReadonlyMap<string, FileContent>): Promise<Record<string, Uint8Array>> {
  const result: Record<string, Uint8Array> = {};
  for (const [name, content] of files) {
    const parts: Uint8Array[] = [];
    if (typeof content === "string") parts.push(new TextEncoder().encode(content));
    else if (content instanceof Uint8Array) parts.push(content);
    else for await (const part of content) parts.push(part.slice());
    result[name] = new Uint8Array(Buffer.concat(parts));
  }
  return result;
}
