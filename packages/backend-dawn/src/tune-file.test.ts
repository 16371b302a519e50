import { mkdtemp, readdir, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, expect, test } from "vitest";
import { cacheFolder, tuneFile } from "./tune-file.js";

let folder: string;
beforeEach(async () => void (folder = await mkdtemp(join(tmpdir(), "tune-"))));
afterEach(() => rm(folder, { recursive: true }));

test("texts come back by their key from another store, and nothing is left beside the file", async () => {
  const path = join(folder, "new", "tune.json");
  expect(await tuneFile(path).get("a")).toBeUndefined();
  await tuneFile(path).set("a", "one");
  await tuneFile(path).set("b", "two");
  expect(await tuneFile(path).get("a")).toBe("one");
  expect(await tuneFile(path).get("b")).toBe("two");
  expect(await readdir(join(folder, "new"))).toEqual(["tune.json"]);
});

test("a file that holds no table is told when read and replaced when written", async () => {
  const path = join(folder, "tune.json");
  await writeFile(path, "[1]");
  await expect(tuneFile(path).get("a")).rejects.toThrow("no table");
  await tuneFile(path).set("a", "one");
  expect(JSON.parse(await readFile(path, "utf8"))).toEqual({ a: "one" });
});

test("the cache is where each system keeps it", () => {
  expect(cacheFolder("linux", { XDG_CACHE_HOME: "/c" })).toBe("/c");
  expect(cacheFolder("linux", {})).toMatch(/\.cache$/);
  expect(cacheFolder("win32", { LOCALAPPDATA: "L" })).toBe("L");
  expect(cacheFolder("darwin", {})).toMatch(/Caches$/);
});
