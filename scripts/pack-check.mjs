// The packages as a stranger gets them: packed, installed from the tarballs into an empty project, imported as ESM and
// as CommonJS, bundled for a browser by Vite, type-checked by a short program, and shaken by esbuild.
//
//   node scripts/pack-check.mjs [--json=FILE] [--keep]

import { spawnSync } from "node:child_process";
import {
  cpSync,
  globSync,
  mkdirSync,
  mkdtempSync,
  readFileSync,
  rmSync,
  statSync,
  writeFileSync,
} from "node:fs";
import { createRequire } from "node:module";
import { tmpdir } from "node:os";
import { basename, dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import { build as esbuild } from "esbuild";
import { publint } from "publint";
import { formatMessage } from "publint/utils";
import { build as vite } from "vite";

const root = dirname(dirname(fileURLToPath(import.meta.url)));
const fixtures = join(root, "scripts", "pack-fixtures");
const require = createRequire(import.meta.url);
const options = process.argv.slice(2);
const jsonFile = options.find((option) => option.startsWith("--json="))?.slice("--json=".length);
const keep = options.includes("--keep");

const packages = globSync("packages/*/package.json", { cwd: root })
  .map((path) => {
    const folder = join(root, dirname(path));
    return { folder, manifest: JSON.parse(readFileSync(join(folder, "package.json"), "utf8")) };
  })
  .filter(({ manifest }) => !manifest.private)
  .sort((a, b) => (a.manifest.name < b.manifest.name ? -1 : 1));
const names = packages.map(({ manifest }) => manifest.name);

const scratch = mkdtempSync(join(tmpdir(), "lowrank-pack-"));
const tarballs = join(scratch, "tarballs");
const project = join(scratch, "project");
mkdirSync(tarballs);
mkdirSync(project);

const results = { passed: 0, failed: 0, checks: [] };
async function check(name, work) {
  let fault;
  try {
    await work();
  } catch (error) {
    fault = error instanceof Error ? error.message : String(error);
  }
  results.checks.push({ name, passed: fault === undefined, ...(fault !== undefined && { fault }) });
  results[fault === undefined ? "passed" : "failed"]++;
  console.log(
    `  ${fault === undefined ? "ok  " : "FAIL"} ${name}${fault === undefined ? "" : `\n${fault.replace(/^/gm, "       ")}`}`,
  );
}

function run(command, args, cwd) {
  const { status, stdout, stderr, error } = spawnSync(command, args, {
    cwd,
    encoding: "utf8",
    maxBuffer: 1 << 27,
    shell: process.platform === "win32",
    env: { ...process.env, NO_COLOR: "1", FORCE_COLOR: "0" },
  });
  if (error) throw error;
  if (status !== 0) {
    throw new Error(
      `${command} ${args.join(" ")}: expected exit status 0, got ${status}\n${`${stdout}${stderr}`.trim().slice(-4000)}`,
    );
  }
  return stdout;
}

/** The bundle of one small program, minified, as a browser would load it. */
async function bundle(source, extra = {}) {
  const { outputFiles } = await esbuild({
    stdin: { contents: source, resolveDir: project, loader: "js" },
    bundle: true,
    minify: true,
    write: false,
    format: "esm",
    platform: "browser",
    target: "es2022",
    logLevel: "silent",
    external: ["node:*"],
    ...extra,
  });
  return outputFiles[0].text;
}

try {
  const archives = {};
  for (const { folder, manifest } of packages) {
    await check(`${manifest.name}: packs, with what its exports name and no tests or sources`, async () => {
      const file = join(tarballs, `${manifest.name.replace("@", "").replace("/", "-")}.tgz`);
      run("pnpm", ["pack", "--out", file], folder);
      archives[manifest.name] = file;
      const files = run("tar", ["-tzf", file], root)
        .trim()
        .split("\n")
        .map((path) => path.replace(/^package\//, ""));
      const wanted = ["package.json", "README.md", "LICENSE", ...entryFiles(manifest)];
      const missing = wanted.filter((path) => !files.includes(path));
      if (missing.length > 0) throw new Error(`expected the tarball to hold ${missing.join(", ")}`);
      const odd = files.filter((path) => /\.test\.|^src\/|^test\/|\.tsbuildinfo$/.test(path));
      if (odd.length > 0)
        throw new Error(
          `expected neither tests nor sources in the tarball, got ${odd.slice(0, 5).join(", ")}`,
        );
    });
    await check(`${manifest.name}: publint`, async () => {
      const { messages, pkg } = await publint({
        pack: { tarball: bytes(archives[manifest.name]) },
        strict: true,
        level: "warning",
      });
      if (messages.length > 0)
        throw new Error(messages.map((message) => formatMessage(message, pkg, { color: false })).join("\n"));
    });
    await check(`${manifest.name}: types resolve (attw)`, () =>
      run("attw", [archives[manifest.name], "--profile", "node16", "--format", "ascii", "--no-emoji"], root),
    );
  }

  await check("the tarballs install into an empty project", () => {
    const dependencies = Object.fromEntries(
      Object.entries(archives).map(([name, file]) => [name, `file:${file}`]),
    );
    writeFileSync(
      join(project, "package.json"),
      JSON.stringify(
        {
          name: "stranger",
          private: true,
          version: "1.0.0",
          type: "module",
          dependencies,
          overrides: dependencies,
        },
        null,
        2,
      ),
    );
    run(
      "npm",
      ["install", "--prefer-offline", "--no-audit", "--no-fund", "--ignore-scripts", "--loglevel=error"],
      project,
    );
    const { peer } = duplicates();
    if (peer.length > 0) throw new Error(`expected one copy of each package, got ${peer.join(", ")} twice`);
  });

  for (const name of names) {
    const program = (how) =>
      `${how}; const names = Object.keys(m).filter((n) => n !== "default"); if (names.length === 0) { console.error("expected named exports, got none"); process.exit(1); } console.log(names.sort().join());`;
    let esm;
    await check(`${name}: imports as ESM`, () => {
      esm = run("node", ["--input-type=module", "-e", program(`import * as m from "${name}"`)], project);
    });
    await check(`${name}: requires as CommonJS, with the same names`, () => {
      const cjs = run(
        "node",
        ["--input-type=commonjs", "-e", program(`const m = require("${name}")`)],
        project,
      );
      if (esm !== undefined && cjs !== esm)
        throw new Error(`expected the names of the ESM build, ${esm.trim()}, got ${cjs.trim()}`);
    });
  }

  cpSync(fixtures, project, { recursive: true });
  const tsc = join(dirname(require.resolve("typescript/package.json")), "bin", "tsc");
  await check("a ten-line program type-checks against the packed types", () =>
    run("node", [tsc, "-p", "tsconfig.json"], project),
  );
  await check("the same program runs on the packed code", () => {
    const output = run("node", ["user-program.ts"], project);
    const { first, last } = JSON.parse(output);
    if (!(last < first * 0.5)) throw new Error(`expected the loss to halve, got ${first} then ${last}`);
  });

  await check("the installed command prints its help", () => {
    const help = run(join(project, "node_modules", ".bin", "lowrank"), ["--help"], project);
    const absent = ["finetune", "evaluate", "generate", "merge", "info"].filter(
      (command) => !help.includes(command),
    );
    if (absent.length > 0) throw new Error(`expected the help to name ${absent.join(", ")}, got\n${help}`);
  });

  await check("Vite bundles tensor, backend-wasm, nn and adapters for a browser", async () => {
    await vite({
      root: join(project, "browser"),
      configFile: false,
      logLevel: "error",
      build: { outDir: "dist", emptyOutDir: true, target: "es2022" },
    });
    const built = globSync("dist/assets/*.js", { cwd: join(project, "browser") });
    if (built.length === 0) throw new Error("expected JavaScript in browser/dist/assets, got none");
    for (const path of built) {
      const text = readFileSync(join(project, "browser", path), "utf8");
      if (/__vite-browser-external|^import\s*["']node:/m.test(text))
        throw new Error(`expected no Node module in ${basename(path)}`);
    }
  });

  for (const name of [
    "@lowrank/tensor",
    "@lowrank/backend-wasm",
    "@lowrank/nn",
    "@lowrank/optim",
    "@lowrank/linalg",
    "@lowrank/adapters",
  ]) {
    await check(`${name}: importing it without using it adds nothing to a bundle`, async () => {
      const text = (await bundle(`import * as unused from "${name}";`)).trim();
      if (text.length > 0)
        throw new Error(`expected an empty bundle, got ${text.length} bytes: ${text.slice(0, 200)}`);
    });
  }
  await check("@lowrank/tensor: an unused op stays out of a bundle", async () => {
    const { unused, used } = JSON.parse(readFileSync(join(fixtures, "ops.json"), "utf8"));
    const all = await bundle(`export * from "@lowrank/tensor";`);
    const absent = unused.filter((op) => !all.includes(`"${op}"`));
    if (absent.length > 0)
      throw new Error(
        `expected the whole package to name its ops ${absent.join(", ")}; correct scripts/pack-fixtures/ops.json`,
      );
    const one = await bundle(`export { ${used} } from "@lowrank/tensor";`, {
      external: ["node:*", "@lowrank/backend-wasm"],
    });
    const stowaways = unused.filter((op) => one.includes(`"${op}"`));
    if (stowaways.length > 0)
      throw new Error(
        `expected only "${used}" and what it needs, got ${stowaways.join(", ")} too (${one.length} of ${all.length} bytes)`,
      );
  });
} finally {
  if (keep) console.log(`kept ${scratch}`);
  else rmSync(scratch, { recursive: true, force: true });
}

if (jsonFile) writeFileSync(jsonFile, JSON.stringify(results, null, 2));
console.log(`pack-check: ${results.passed} passed, ${results.failed} failed`);
process.exitCode = results.failed > 0 ? 1 : 0;

function bytes(file) {
  if (file === undefined) throw new Error("expected a tarball; packing failed");
  const buffer = readFileSync(file);
  return buffer.buffer.slice(buffer.byteOffset, buffer.byteOffset + buffer.byteLength);
}

/** Every file that the exports map, bin and main of a manifest point at. */
function entryFiles({ exports, bin, main, types }) {
  const files = new Set();
  const walk = (value) => {
    if (typeof value === "string") files.add(value.replace(/^\.\//, ""));
    else for (const inner of Object.values(value ?? {})) walk(inner);
  };
  for (const value of [exports, bin, main, types]) walk(value);
  return [...files];
}

/** Packages of ours that were installed more than once: two copies would not know each other's tensors. */
function duplicates() {
  const nested = globSync("node_modules/**/node_modules/@lowrank/*", { cwd: project }).filter((path) =>
    statSync(join(project, path)).isDirectory(),
  );
  return { peer: [...new Set(nested.map((path) => `@lowrank/${basename(path)}`))] };
}
