import { mkdir, readdir, rename, rm, stat } from "node:fs/promises";
import { resolve } from "node:path";
import { ConfigError } from "@lowrank/tensor";

/** What a path holds: nothing, an empty folder, a folder with something in it, or no folder at all. */
export async function occupied(path: string): Promise<"nothing" | "empty" | "folder" | "other"> {
  try {
    if (!(await stat(path)).isDirectory()) return "other";
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException;
    if (code === "ENOENT") return "nothing";
    if (code === "ENOTDIR") return "other";
    throw error;
  }
  return (await readdir(path)).length === 0 ? "empty" : "folder";
}

/**
 * Refuses a folder that holds something, unless that may be replaced.
 *
 * @throws ConfigError
 */
export async function checkOut(path: string, allowed: boolean, hint: string): Promise<void> {
  const held = await occupied(path);
  if (held === "other") {
    throw new ConfigError({ where: path, expected: "a folder or a free name", got: "a file in its place" });
  }
  if (held === "folder" && !allowed) {
    throw new ConfigError({
      where: path,
      expected: "an empty folder or a free name",
      got: "a folder with files",
      hint,
    });
  }
}

/**
 * Where a run writes. A run that replaces an earlier one works in a folder beside it, which takes its place when it has
 * ended well: until then nothing of the earlier one is touched.
 */
export class OutFolder {
  private constructor(
    /** The folder as the user named it. */
    readonly path: string,
    /** The folder that is written into meanwhile. */
    readonly work: string,
    private readonly made: boolean,
  ) {}

  /** Makes the folder to write into; called when everything else has been checked. */
  static async open(
    path: string,
    { overwrite, resume }: { overwrite: boolean; resume: boolean },
  ): Promise<OutFolder> {
    const final = /(^|[/\\])\.{0,2}[/\\]*$/.test(path) ? resolve(path) : path;
    const aside = `${final}.new`;
    const left = `${final}.old`;
    // A run that died between the two renames of its end.
    if ((await occupied(final)) === "nothing" && (await occupied(left)) !== "nothing")
      await rename(left, final);
    if (resume && (await occupied(aside)) === "folder") return new OutFolder(final, aside, false);
    const replaces = overwrite && !resume && (await occupied(final)) === "folder";
    const work = replaces ? aside : final;
    if (replaces) await rm(aside, { recursive: true, force: true });
    const made = (await occupied(work)) === "nothing";
    await mkdir(work, { recursive: true });
    return new OutFolder(final, work, made);
  }

  /** Puts the new run in its place. */
  async finish(): Promise<void> {
    if (this.work === this.path) return;
    const left = `${this.path}.old`;
    await rm(left, { recursive: true, force: true });
    await rename(this.path, left);
    await rename(this.work, this.path);
    await rm(left, { recursive: true, force: true });
  }

  /** Takes away the folder of a run that failed before it had a checkpoint. True if there is one. */
  async abandon(): Promise<boolean> {
    if ((await occupied(`${this.work}/checkpoints`)) === "folder") return true;
    if (this.made) await rm(this.work, { recursive: true, force: true });
    return false;
  }
}
