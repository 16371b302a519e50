// Every check of the repository, in one run: build, types, lint, unit tests, a browser if there is one, unused code, size
// ceilings and the packed packages. Ends with one line, "N passed, N failed", added up from what each tool reported.
//
//   node scripts/test.mjs [--only build,typecheck,lint,unit,parsers,browser,knip,size,pack] [-- arguments for vitest]

import { spawnSync } from "node:child_process";
import { mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";

const scratch = mkdtempSync(join(tmpdir(), "lowrank-test-"));
const args = process.argv.slice(2);
const only = args[0] === "--only" ? args.splice(0, 2)[1].split(",") : undefined;
const vitestArgs = args[0] === "--" ? args.slice(1) : args;

function run(command, commandArgs, { capture = false } = {}) {
  const { status, stdout, stderr } = spawnSync(command, commandArgs, {
    stdio: capture ? ["ignore", "pipe", "pipe"] : ["ignore", "inherit", "inherit"],
    encoding: "utf8",
    maxBuffer: 1 << 28,
    shell: process.platform === "win32",
    env: { ...process.env, FORCE_COLOR: "0", NO_COLOR: "1", TURBO_TELEMETRY_DISABLED: "1" },
  });
  return { ok: status === 0, output: `${stdout ?? ""}${stderr ?? ""}` };
}

const pnpm = (...rest) => ["pnpm", rest];
const json = (file) => {
  try {
    return JSON.parse(readFileSync(join(scratch, file), "utf8"));
  } catch {
    return undefined; // the tool died before it reported: its step counts as one failure
  }
};

/** A tool without counts of its own is one check. */
function single(command, commandArgs) {
  const { ok, output } = run(command, commandArgs, { capture: true });
  if (!ok) console.log(output);
  return { passed: ok ? 1 : 0, failed: ok ? 0 : 1 };
}

/** turbo prints "Tasks: 7 successful, 8 total"; a task that did not get its turn has not passed. */
function turbo(task) {
  const { ok, output } = run(
    ...pnpm("exec", "turbo", "run", task, "--continue", "--output-logs=errors-only", "--ui=stream"),
    { capture: true },
  );
  if (!ok) console.log(output);
  const [, passed, total] = /Tasks:\s+(\d+) successful, (\d+) total/.exec(output) ?? [];
  if (total === undefined) return { passed: 0, failed: 1 };
  const failed = Number(total) - Number(passed);
  return { passed: Number(passed), failed: ok ? failed : Math.max(1, failed) };
}

const STEPS = {
  build: () => turbo("build"),
  typecheck: () => turbo("typecheck"),
  lint() {
    const biome = single(
      ...pnpm("exec", "biome", "check", "--diagnostic-level=error", "--max-diagnostics=40", "."),
    );
    const floors = single("node", ["scripts/check-imports.mjs"]);
    return { passed: biome.passed + floors.passed, failed: biome.failed + floors.failed };
  },
  unit() {
    const { ok } = run(
      ...pnpm(
        "exec",
        "vitest",
        "run",
        "--reporter=default",
        "--reporter=json",
        `--outputFile.json=${join(scratch, "vitest.json")}`,
        ...vitestArgs,
      ),
    );
    const report = json("vitest.json");
    if (report === undefined) return { passed: 0, failed: 1 };
    // A file that fails to load has no tests to count.
    const unloaded = report.testResults.filter(
      ({ status, assertionResults }) =>
        status === "failed" && assertionResults.every((test) => test.status !== "failed"),
    ).length;
    const failed = report.numFailedTests + unloaded;
    const skipped = report.numPendingTests + (report.numTodoTests ?? 0);
    return {
      passed: report.numPassedTests,
      failed: ok ? failed : Math.max(1, failed),
      note: skipped ? `${skipped} skipped` : "",
    };
  },
  // Branches of what reads files from strangers: at least 95 %.
  parsers: () => single(...pnpm("exec", "vitest", "run", "--config", "vitest.parsers.config.ts")),
  browser() {
    const { ok } = run("node", ["scripts/browser-check.mjs", `--json=${join(scratch, "browser.json")}`]);
    const report = json("browser.json");
    if (report === undefined) return { passed: 0, failed: 1 };
    return { ...report, failed: ok ? report.failed : Math.max(1, report.failed) };
  },
  knip: () => single(...pnpm("exec", "knip", "--no-progress", "--no-config-hints")),
  size() {
    if (!run("node", ["scripts/bundles/build.mjs"]).ok) return { passed: 0, failed: 1 };
    const { ok, output } = run(...pnpm("exec", "size-limit", "--json"), { capture: true });
    let entries;
    try {
      entries = JSON.parse(output.slice(output.indexOf("["), output.lastIndexOf("]") + 1));
    } catch {
      console.log(output);
      return { passed: 0, failed: 1 };
    }
    for (const { name, size, sizeLimit, passed } of entries) {
      if (!passed) console.log(`size: expected ${name} to be at most ${sizeLimit} bytes, got ${size}`);
    }
    const passed = entries.filter((entry) => entry.passed).length;
    const failed = ok ? entries.length - passed : Math.max(1, entries.length - passed);
    const browser = single("node", ["scripts/browser-size.mjs"]);
    return { passed: passed + browser.passed, failed: failed + browser.failed };
  },
  pack() {
    const { ok } = run("node", ["scripts/pack-check.mjs", `--json=${join(scratch, "pack.json")}`]);
    const report = json("pack.json");
    if (report === undefined) return { passed: 0, failed: 1 };
    return { passed: report.passed, failed: ok ? report.failed : Math.max(1, report.failed) };
  },
};

const unknown = (only ?? []).filter((step) => !(step in STEPS));
if (unknown.length > 0) {
  console.error(
    `test: expected --only to name some of ${Object.keys(STEPS).join(", ")}, got ${unknown.join(", ")}`,
  );
  process.exit(2);
}

const began = Date.now();
const rows = [];
try {
  for (const [name, step] of Object.entries(STEPS)) {
    if (only && !only.includes(name)) continue;
    console.log(`\n> ${name}`);
    const stepBegan = Date.now();
    const { passed, failed, note } = step();
    const row = { name, passed, failed, note, time: (Date.now() - stepBegan) / 1000 };
    rows.push(row);
    console.log(`${name}: ${passed} passed, ${failed} failed (${row.time.toFixed(1)} s)`);
  }
} finally {
  rmSync(scratch, { recursive: true, force: true });
}

const sum = (key) => rows.reduce((total, row) => total + row[key], 0);
console.log(`\n${"check".padEnd(12)}${"passed".padStart(8)}${"failed".padStart(8)}${"seconds".padStart(10)}`);
for (const { name, passed, failed, time, note } of rows) {
  console.log(
    `${name.padEnd(12)}${String(passed).padStart(8)}${String(failed).padStart(8)}${time.toFixed(1).padStart(10)}  ${note ?? ""}`.trimEnd(),
  );
}
console.log(`\nwork ${((Date.now() - began) / 1000).toFixed(1)} s on Node ${process.versions.node}`);
console.log(`${sum("passed")} passed, ${sum("failed")} failed`);
process.exitCode = sum("failed") > 0 || rows.length === 0 ? 1 : 0;
