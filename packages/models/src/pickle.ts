import type { Folder } from "./source.js";

/** What is said of a pickle file. It is a program for a stack machine that may call any function of Python. */
export const PICKLE = "a pickle file that runs code when it is read";

/** How to make a file that can be read. */
export const CONVERT =
  "convert it where you trust it: AutoModel.from_pretrained(folder).save_pretrained(folder) of Transformers writes safetensors";

/** True for the name of a file that Python's pickle wrote, or an index of such. */
export const isPickleName = (name: string): boolean =>
  /\.(?:bin|pt|pth|ckpt|pkl|pickle)(?:\.index\.json)?$/i.test(name);

/**
 * True for the first bytes of the zip archive that `torch.save` writes. As the length of a safetensors header they would be
 * above what is taken.
 */
export const isPickle = (head: Uint8Array): boolean =>
  head[0] === 0x50 &&
  head[1] === 0x4b &&
  head[2] === 3 &&
  head[3] === 4 &&
  head.subarray(4, 8).some((b) => b !== 0);

/** The name of a pickle file that stands in a folder in place of the weights, if one does. Its content is never read. */
export async function findPickle(folder: Folder, stem: string): Promise<string | undefined> {
  const stems = stem === "model" ? ["pytorch_model", "model", "consolidated.00"] : [stem];
  const endings = [".bin", ".bin.index.json", ".pt", ".pth", ".ckpt", ".pkl"];
  for (const name of stems.flatMap((s) => endings.map((ending) => s + ending))) {
    const source = await folder.open(name);
    await source?.close();
    if (source !== undefined) return name;
  }
  return undefined;
}
