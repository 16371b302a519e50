import type { FolderInput } from "@lowrank/models";
import { ConfigError } from "@lowrank/tensor";

/** Where the adapters of a server come from, by their names. */
export interface AdapterSource {
  /** Names of those that there are now. */
  list(): Promise<readonly string[]>;
  /** The folder of one, or undefined. It is asked for letters, digits, _ and - only. */
  find(name: string): Promise<FolderInput | undefined>;
}

/** Names of adapters: never a path. */
export const ADAPTER_NAME = /^[A-Za-z0-9_-]{1,100}$/;

/**
 * The adapters in a folder (Node): each folder in it that has an `adapter_config.json`, by its name. Those that come or go
 * while the server runs are seen. Links are not followed.
 *
 * @throws ConfigError if there is no such folder.
 */
export async function adaptersIn(root: string): Promise<AdapterSource> {
  const { lstat, readdir, realpath } = await import("node:fs/promises");
  const { join } = await import("node:path");
  const refuse = (cause: unknown): never => {
    throw new ConfigError({ where: "adaptersIn", expected: "a folder", got: JSON.stringify(root), cause });
  };
  const base = await realpath(root).catch(refuse);
  if (!(await lstat(base)).isDirectory()) refuse(null);
  const isAdapter = async (name: string): Promise<boolean> => {
    if (!ADAPTER_NAME.test(name)) return false;
    try {
      const folder = await lstat(join(base, name));
      return folder.isDirectory() && (await lstat(join(base, name, "adapter_config.json"))).isFile();
    } catch {
      return false;
    }
  };
  return {
    async list() {
      const names = await readdir(base);
      const there = await Promise.all(names.map(isAdapter));
      return names.filter((_, i) => there[i]);
    },
    find: async (name) => ((await isAdapter(name)) ? join(base, name) : undefined),
  };
}
