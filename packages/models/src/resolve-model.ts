import { FormatError } from "./format-error.js";
import { type HubOptions, openHub } from "./hub.js";
import { isHubName } from "./hub-name.js";
import { requireBuiltin } from "./node-builtin.js";

/** Where a model is on disk. */
export interface ResolvedModel {
  readonly path: string;
  readonly kind: "folder" | "file";
}

/**
 * What a model argument stands for (Node): the path of a folder, the path of a file such as a `.gguf`, or
 * `owner/name[@revision][:file]` of the Hub. A path that exists wins. Unless `offline` is false, a name is looked up in the
 * cache only, so that a mistyped path asks nothing of a server.
 *
 * @throws FormatError if it is neither; DownloadError if the repository is not in the cache; ConfigError if it holds no model.
 */
export async function resolveModel(
  argument: string,
  { offline = true, ...options }: HubOptions = {},
): Promise<ResolvedModel> {
  const { promises: fs } = requireBuiltin("node:fs", "resolveModel");
  const { join } = requireBuiltin("node:path", "resolveModel");
  const stat = await fs.stat(argument).catch((error: { code?: string }) => {
    if (error.code === "ENOENT" || error.code === "ENOTDIR") return undefined;
    throw new FormatError({
      format: "model",
      where: argument,
      expected: "the path of a model",
      got: String(error.code),
      cause: error,
    });
  });
  if (stat?.isDirectory()) return { path: argument, kind: "folder" };
  if (stat?.isFile()) return { path: argument, kind: "file" };
  if (stat !== undefined || !isHubName(argument)) {
    throw new FormatError({
      format: "model",
      where: argument,
      expected: "a folder, a file, or owner/name of a model on the Hub",
      got: stat === undefined ? "nothing of that name" : "a device or pipe",
      hint: "check the path",
    });
  }
  const folder = await openHub(argument, { ...options, offline });
  const files = folder.modelFiles();
  await folder.fetch(files);
  if (folder.path === undefined) {
    throw new FormatError({
      format: "model",
      where: argument,
      expected: "a cache with folders on disk",
      got: "one without",
      hint: "open it by openHub",
    });
  }
  const single = files.find(({ path }) => path.endsWith(".gguf"));
  return single === undefined
    ? { path: folder.path, kind: "folder" }
    : { path: join(folder.path, ...single.path.split("/")), kind: "file" };
}
