import { type SpawnSyncReturns, spawnSync } from "node:child_process";
import { mkdtempSync, rmSync } from "node:fs";
import { createRequire } from "node:module";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath, pathToFileURL } from "node:url";
import { build } from "esbuild";
import { afterAll } from "vitest";

const scratch = mkdtempSync(join(tmpdir(), "lowrank-dawn-"));
afterAll(() => rmSync(scratch, { recursive: true, force: true }));

/** Makes one program of a file beside this one and the sources of every package. Dawn stays where it is installed. */
export async function program(name: string): Promise<string> {
  const outfile = join(scratch, `${name}.mjs`);
  await build({
    entryPoints: [fileURLToPath(new URL(`./${name}.ts`, import.meta.url))],
    outfile,
    bundle: true,
    format: "esm",
    platform: "node",
    target: "node20",
    logLevel: "error",
    tsconfig: fileURLToPath(new URL("../../../tsconfig.base.json", import.meta.url)),
    plugins: [
      {
        name: "dawn",
        setup(b) {
          const path = pathToFileURL(createRequire(import.meta.url).resolve("webgpu")).href;
          b.onResolve({ filter: /^webgpu$/ }, () => ({ path, external: true }));
        },
      },
    ],
  });
  return outfile;
}

/** Runs it to its end, or for a minute at most. */
export const run = (
  file: string,
  args: readonly string[] = [],
  env: Readonly<Record<string, string>> = {},
): SpawnSyncReturns<string> =>
  spawnSync(process.execPath, ["--expose-gc", file, ...args], {
    encoding: "utf8",
    timeout: 60_000,
    env: { ...process.env, ...env },
  });
