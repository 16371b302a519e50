import { spawnSync } from "node:child_process";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { afterAll } from "vitest";

const source = fileURLToPath(new URL("./small-library.c", import.meta.url));
const compiler = ["gcc", "cc", "clang"].find((name) => spawnSync(name, ["--version"]).status === 0);

/** Why no library can be made here, or null. */
export const noCompiler =
  process.platform !== "linux"
    ? "the libraries of these tests are made for Linux"
    : compiler || process.env["LOWRANK_REQUIRE_BLAS"] === "1"
      ? null
      : "there is no C compiler";
if (noCompiler) console.warn(`skipped: ${noCompiler}`);

/** Where libraries are made until the tests of a file have ended. */
export const folder = mkdtempSync(join(tmpdir(), "lowrank-blas-"));
afterAll(() => rmSync(folder, { recursive: true }));

/** The path of small-library.c, compiled with these macros. */
export function compile(name: string, ...defines: string[]): string {
  const path = join(folder, name);
  const flags = ["-shared", "-fPIC", "-O1", ...defines.map((one) => `-D${one}`), "-o", path, source];
  const { status, stderr } = spawnSync(compiler!, flags, { encoding: "utf8" });
  if (status !== 0) throw new Error(stderr);
  return path;
}
