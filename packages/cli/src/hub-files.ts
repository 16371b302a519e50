import { openAsBlob } from "node:fs";
import { readdir, readFile } from "node:fs/promises";
import { join } from "node:path";
import { checkFilePath, isHubName, quoteName } from "@lowrank/models";
import { ConfigError } from "@lowrank/tensor";

/** A file to upload, with its path in the repository. Its content stays on disk until it is sent. */
export interface PushFile {
  readonly path: string;
  readonly content: Blob;
}

const MAX_DEPTH = 3;
const MAX_FILES = 1000;

/** What is not for others: hidden files, the note that an atomic save keeps, and what an unfinished save left. */
const isOurs = (name: string): boolean =>
  name.startsWith(".") || name === "manifest.json" || /\.(?:tmp|old)$/.test(name);

/**
 * The files of a folder of a model or an adapter, with a README.md if it has none.
 *
 * @throws ConfigError for a folder that is neither, a link in it, or too many files.
 */
export async function filesToPush(folder: string, repo: string): Promise<PushFile[]> {
  const paths = await walk(folder, "");
  const has = (name: string): boolean => paths.includes(name);
  if (!has("config.json") && !has("adapter_config.json") && !paths.some((path) => /\.gguf$/.test(path))) {
    throw new ConfigError({
      where: folder,
      expected: "config.json of a model, adapter_config.json of an adapter, or a GGUF file",
      got: "none of them",
      hint: "name the folder that holds it",
    });
  }
  const files = await Promise.all(
    paths.map(async (path) => ({ path, content: await openAsBlob(join(folder, ...path.split("/"))) })),
  );
  if (!has("README.md"))
    files.push({ path: "README.md", content: new Blob([await readme(folder, repo, has)]) });
  return files;
}

async function walk(folder: string, below: string, depth = 1): Promise<string[]> {
  const found: string[] = [];
  for (const entry of await readdir(join(folder, below), { withFileTypes: true })) {
    if (isOurs(entry.name)) continue;
    const path = checkFilePath(below === "" ? entry.name : `${below}/${entry.name}`, folder);
    const refuse = (expected: string, got: string): never => {
      throw new ConfigError({ where: folder, expected, got });
    };
    if (entry.isDirectory()) {
      if (depth === MAX_DEPTH) refuse(`folders at most ${MAX_DEPTH} deep`, quoteName(path));
      found.push(...(await walk(folder, path, depth + 1)));
    } else if (entry.isFile()) found.push(path);
    else refuse("files and folders only", `${quoteName(path)}, a link or device`);
    if (found.length > MAX_FILES) refuse(`at most ${MAX_FILES} files`, "more");
  }
  return found.sort();
}

/** A short card: what it is, and of which base model an adapter is. */
async function readme(folder: string, repo: string, has: (name: string) => boolean): Promise<string> {
  const title = repo.split("/")[1];
  if (!has("adapter_config.json")) return `# ${title}\n`;
  let config: Record<string, unknown> = {};
  try {
    config = JSON.parse(await readFile(join(folder, "adapter_config.json"), "utf8")) as Record<
      string,
      unknown
    >;
  } catch (cause) {
    throw new ConfigError({
      where: join(folder, "adapter_config.json"),
      expected: "JSON",
      got: "something else",
      cause,
    });
  }
  const base = config["base_model_name_or_path"];
  const known = typeof base === "string" && isHubName(base) ? base : undefined;
  const head = [
    "---",
    "library_name: peft",
    ...(known === undefined ? [] : [`base_model: ${known}`]),
    "---",
    "",
  ];
  const method = typeof config["peft_type"] === "string" ? config["peft_type"] : "adapter";
  const rank = typeof config["r"] === "number" ? ` of rank ${config["r"]}` : "";
  return [
    ...head,
    `# ${title}`,
    "",
    `${method}${rank}${known === undefined ? "" : ` for ${known}`}, in PEFT's form.`,
    "",
  ].join("\n");
}
