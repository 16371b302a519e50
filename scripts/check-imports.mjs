// The floors: which package may import which, and which may touch Node. Sources only; a test may import anything.
//
//   node scripts/check-imports.mjs

import { globSync, readFileSync } from "node:fs";
import { dirname, join, relative, resolve, sep } from "node:path";
import { fileURLToPath } from "node:url";

const root = dirname(dirname(fileURLToPath(import.meta.url)));

// "lazy" is an import() of an optional peer, where it is asked for or nothing else was chosen.
const FLOORS = {
  tensor: { imports: [], lazy: ["backend-wasm"], node: "never" },
  "backend-wasm": { imports: ["tensor"], node: "lazy" },
  "backend-webgpu": { imports: ["tensor"], node: "never" },
  "backend-dawn": { imports: ["tensor", "backend-webgpu"], node: "free" },
  "backend-native": { imports: ["tensor", "backend-wasm"], node: "free" },
  nn: { imports: ["tensor"], node: "never" },
  optim: { imports: ["tensor", "nn"], node: "never" },
  linalg: { imports: ["tensor"], lazy: ["backend-wasm", "backend-native"], node: "never" },
  models: { imports: ["tensor", "nn"], node: "lazy" },
  adapters: { imports: ["tensor", "nn", "linalg", "models"], node: "lazy" },
  train: { imports: ["tensor", "nn", "optim", "models", "adapters"], node: "lazy" },
  serve: { imports: ["tensor", "models", "adapters"], node: "lazy" },
  cli: {
    imports: [
      "tensor",
      "backend-wasm",
      "backend-native",
      "nn",
      "optim",
      "models",
      "adapters",
      "train",
      "serve",
    ],
    lazy: ["backend-dawn"],
    node: "free",
  },
};

// Static imports and exports, import() and the type position import("…"), comments left out.
const STATIC = /(?:^|\n)\s*(import|export)\s+(type\s+)?(?:[\w*{}\s,$]+?\s+from\s+)?["']([^"']+)["']/g;
const DYNAMIC = /(typeof\s+)?\bimport\(\s*(?:\/\*[\s\S]*?\*\/\s*)?["']([^"']+)["']/g;
const strip = (text) =>
  text.replace(/\/\*(?!\s*@(?:vite|webpack))[\s\S]*?\*\//g, "").replace(/(^|\s)\/\/[^\n]*/g, "$1");

const faults = [];
const report = (file, text) => faults.push(`${relative(root, file)}: ${text}`);

function check(name, file, specifier, { lazy, typeOnly }) {
  const floor = FLOORS[name];
  if (specifier.startsWith(".")) {
    const target = resolve(dirname(file), specifier);
    const home = join(root, "packages", name) + sep;
    if (!target.startsWith(home))
      report(file, `expected imports to stay inside the package, got "${specifier}"; use its public name`);
    return;
  }
  if (specifier.startsWith("node:")) {
    if (typeOnly || floor.node === "free" || (floor.node === "lazy" && lazy)) return;
    const wish =
      floor.node === "lazy"
        ? "node: modules only through import() in the function that needs them"
        : "no node: module (it runs in browsers)";
    report(file, `expected ${wish}, got "${specifier}"`);
    return;
  }
  const [, other] = /^@lowrank\/([a-z-]+)/.exec(specifier) ?? [];
  if (other === undefined || other === name) return;
  if (floor.imports.includes(other)) return;
  if (floor.lazy?.includes(other) && (lazy || typeOnly)) return;
  report(
    file,
    `expected @lowrank/${name} to import only from ${floor.imports.join(", ") || "itself"}, got "${specifier}"`,
  );
}

const found = globSync("packages/*/package.json", { cwd: root }).map((path) => path.split(sep)[1]);
for (const name of found) {
  if (!(name in FLOORS)) {
    report(
      join(root, "packages", name),
      "expected the package in the table of scripts/check-imports.mjs; give it a floor",
    );
    continue;
  }
  const manifestFile = join(root, "packages", name, "package.json");
  const manifest = JSON.parse(readFileSync(manifestFile, "utf8"));
  const { imports, lazy = [] } = FLOORS[name];
  for (const dependency of Object.keys({ ...manifest.dependencies, ...manifest.peerDependencies })) {
    const [, other] = /^@lowrank\/(.+)/.exec(dependency) ?? [];
    if (other !== undefined && ![...imports, ...lazy].includes(other))
      report(manifestFile, `expected no dependency on a floor above, got "${dependency}"`);
  }
  for (const path of globSync(`packages/${name}/src/**/*.ts`, { cwd: root })) {
    if (/\.test\.ts$/.test(path) || path.includes(`${sep}generated${sep}`)) continue;
    const file = join(root, path);
    const text = strip(readFileSync(file, "utf8"));
    for (const [, , typeOnly, specifier] of text.matchAll(STATIC))
      check(name, file, specifier, { lazy: false, typeOnly: Boolean(typeOnly) });
    for (const [, typeOnly, specifier] of text.matchAll(DYNAMIC))
      check(name, file, specifier, { lazy: true, typeOnly: Boolean(typeOnly) });
  }
}

if (faults.length > 0) {
  console.error(faults.join("\n"));
  process.exitCode = 1;
} else {
  console.log(`imports: ${found.length} packages keep to their floors`);
}
