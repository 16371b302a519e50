import type { ByteInput, ByteSource, FolderInput } from "./source.js";

/** Whether an input is one GGUF file rather than a folder: by the end of its name, or since it is bytes. */
export function isGgufInput(input: FolderInput | ByteInput): input is ByteInput {
  if (typeof input === "string")
    return /\.gguf$/i.test(/^https?:/i.test(input) ? withoutQuery(input) : input);
  if (input instanceof URL) return /\.gguf$/i.test(input.pathname);
  if (input instanceof ArrayBuffer || input instanceof Uint8Array) return true;
  if (typeof Blob !== "undefined" && input instanceof Blob) return true;
  const source = input as Partial<ByteSource>;
  return typeof source.read === "function" && typeof source.size === "number";
}

const withoutQuery = (address: string): string => address.replace(/[?#].*$/s, "");
