import config from "../../quickstart/model/config.json?url";
import weights from "../../quickstart/model/model.safetensors?url";
import tokenizer from "../../quickstart/model/tokenizer.json?url";
import tokenizerConfig from "../../quickstart/model/tokenizer_config.json?url";
import heldOut from "../../quickstart/data/moby-dick-heldout.jsonl?url";
import train from "../../quickstart/data/moby-dick-train.jsonl?url";

/** The quick start's base model, as a folder of the Hugging Face form: file name to address. */
export const MODEL = {
  "config.json": config,
  "model.safetensors": weights,
  "tokenizer.json": tokenizer,
  "tokenizer_config.json": tokenizerConfig,
};
/** Of those files together; a server that compresses tells another size. */
export const MODEL_BYTES = 8_085_075;

/** Chapters of Moby-Dick, one JSON object a line. */
export const MOBY_DICK = { train, heldOut };

/**
 * Downloads one file.
 *
 * @param onBytes Told of the bytes of each piece as it comes.
 */
export async function download(
  url: string,
  onBytes?: (bytes: number) => void,
): Promise<Uint8Array<ArrayBuffer>> {
  const response = await fetch(url);
  if (!response.ok)
    throw new Error(`${new URL(url, location.href).pathname}: the server answered ${response.status}`);
  const parts: Uint8Array<ArrayBuffer>[] = [];
  const reader = response.body!.getReader();
  for (let part = await reader.read(); !part.done; part = await reader.read()) {
    parts.push(part.value);
    onBytes?.(part.value.length);
  }
  return new Uint8Array(await new Blob(parts).arrayBuffer());
}

/** Downloads the files of a folder side by side, into memory. */
export async function downloadFolder<Name extends string>(
  files: Record<Name, string>,
  onBytes: (bytes: number) => void,
): Promise<Map<string, Uint8Array>> {
  const entries = Object.entries<string>(files);
  return new Map(
    await Promise.all(entries.map(async ([name, url]) => [name, await download(url, onBytes)] as const)),
  );
}
