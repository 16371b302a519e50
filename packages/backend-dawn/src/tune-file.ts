import { mkdir, readFile, rename, rm, writeFile } from "node:fs/promises";
import { homedir } from "node:os";
import { dirname, join } from "node:path";
import type { TuneStore } from "@lowrank/backend-webgpu";

type Environment = Readonly<Record<string, string | undefined>>;

/** The user's folder for what can be made again, on this system. */
export function cacheFolder(platform = process.platform, env: Environment = process.env): string {
  const home = homedir();
  if (platform === "darwin") return join(home, "Library", "Caches");
  if (platform === "win32") return env["LOCALAPPDATA"] ?? join(home, "AppData", "Local");
  return env["XDG_CACHE_HOME"] || join(home, ".cache");
}

/** Keeps what was measured in a file of JSON, which is written beside its place and moved there. */
export function tuneFile(path = join(cacheFolder(), "lowrank", "webgpu-tune.json")): TuneStore {
  const read = async (): Promise<Record<string, string>> => {
    let text: string;
    try {
      text = await readFile(path, "utf8");
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code === "ENOENT") return {};
      throw error;
    }
    const table: unknown = JSON.parse(text);
    if (typeof table !== "object" || table === null || Array.isArray(table))
      throw new Error(`no table in ${path}`);
    return table as Record<string, string>;
  };
  return {
    get: async (key) => (await read())[key],
    async set(key, text) {
      // What other processes have kept of other adapters stays; a file that can not be read is replaced.
      const table = await read().catch(() => ({}));
      const beside = `${path}.${process.pid}`;
      await mkdir(dirname(path), { recursive: true });
      try {
        await writeFile(beside, JSON.stringify({ ...table, [key]: text }, null, 1));
        await rename(beside, path);
      } finally {
        await rm(beside, { force: true });
      }
    },
  };
}
