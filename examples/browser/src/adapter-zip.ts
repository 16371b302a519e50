import { unzipSync, zipSync } from "fflate";

/** The two files of an adapter as PEFT names them. */
const FILES = ["adapter_config.json", "adapter_model.safetensors"] as const;
const MAX_BYTES = 256 << 20; // far above any adapter of this model

/** One archive for one download; unpacked it is a folder that PEFT and `loadPeft` read. Floats do not shrink, so none is tried. */
export const zipAdapter = (files: ReadonlyMap<string, Uint8Array>): Blob =>
  new Blob(
    [
      zipSync(Object.fromEntries(files), {
        level: 0,
        mtime: new Date(1980, 0, 1),
      }) as Uint8Array<ArrayBuffer>,
    ],
    {
      type: "application/zip",
    },
  );

/** An adapter's files out of what the user chose: an archive, or the files themselves. */
export async function readAdapter(chosen: readonly File[]): Promise<Map<string, Uint8Array>> {
  const found = new Map<string, Uint8Array>();
  for (const file of chosen) {
    if (file.size > MAX_BYTES) throw new Error(`${file.name} is too large for an adapter of this model.`);
    const bytes = new Uint8Array(await file.arrayBuffer());
    if (file.name.toLowerCase().endsWith(".zip"))
      for (const [name, content] of unpack(file.name, bytes)) found.set(name, content);
    else found.set(file.name, bytes);
  }
  const missing = FILES.filter((name) => !found.has(name));
  if (missing.length > 0) {
    throw new Error(
      `Expected an adapter's .zip, or its files ${FILES.join(" and ")} together; ${missing.join(" and ")} ${missing.length > 1 ? "are" : "is"} missing.`,
    );
  }
  return found;
}

/** The adapter's files in an archive, in whichever folder of it they lie. */
function unpack(archive: string, bytes: Uint8Array): Map<string, Uint8Array> {
  const base = (path: string): string => path.slice(path.lastIndexOf("/") + 1);
  let entries: Record<string, Uint8Array>;
  try {
    entries = unzipSync(bytes, {
      filter: ({ name, originalSize }) =>
        (FILES as readonly string[]).includes(base(name)) && originalSize <= MAX_BYTES,
    });
  } catch (cause) {
    throw new Error(`${archive} cannot be unpacked: ${(cause as Error).message}.`, { cause });
  }
  return new Map(Object.entries(entries).map(([path, content]) => [base(path), content]));
}
