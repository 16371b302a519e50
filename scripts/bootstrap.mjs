// One command on a bare machine: fetches the pinned pnpm, installs (the pinned Node among the rest), then does the job
// on that Node. Plain Node 20, no dependencies.
//
//   node scripts/bootstrap.mjs install | start | test [arguments for the job]

import { spawnSync } from "node:child_process";
import { existsSync, readFileSync } from "node:fs";
import { delimiter, dirname, join } from "node:path";
import { fileURLToPath } from "node:url";

const root = dirname(dirname(fileURLToPath(import.meta.url)));
const { packageManager } = JSON.parse(readFileSync(join(root, "package.json"), "utf8"));
const bin = join(root, "node_modules", ".bin");
const OLDEST_NODE = [22, 12]; // vitest 5 and vite 8 ask for it; the pinned Node is newer

const seconds = (since) => `${((Date.now() - since) / 1000).toFixed(1)} s`;
const say = (text) => console.log(`\n> ${text}`);

// A command line is passed whole to the shell, so that npx and pnpm are found as .cmd files too.
function run(commandLine, env = {}) {
  const { status, signal, error } = spawnSync(commandLine, {
    cwd: root,
    shell: true,
    stdio: "inherit",
    env: { ...process.env, TURBO_TELEMETRY_DISABLED: "1", DO_NOT_TRACK: "1", ...env },
  });
  if (error) throw error;
  return signal ? 1 : (status ?? 1);
}

const quote = (argument) =>
  /^[\w./:=@,+-]+$/.test(argument)
    ? argument
    : process.platform === "win32"
      ? `"${argument.replaceAll('"', '\\"')}"`
      : `'${argument.replaceAll("'", "'\\''")}'`;

const JOBS = {
  install: { prepare: "build", work: () => 0 },
  // The quick start runs on the sources: of a build it needs the Wasm kernels alone.
  start: {
    prepare: "generate",
    work: (args) =>
      run(`pnpm --silent --filter @lowrank-examples/quickstart start ${args.map(quote).join(" ")}`),
  },
  // The test run builds by itself, as its first check.
  test: { prepare: undefined, work: (args) => run(`node scripts/test.mjs ${args.map(quote).join(" ")}`) },
};

function inner() {
  const { job, args, began } = JSON.parse(process.env.LOWRANK_BOOTSTRAP);
  delete process.env.LOWRANK_BOOTSTRAP; // a job may call npm start itself
  const installed = run(
    "pnpm install --frozen-lockfile --prefer-offline --reporter=append-only --loglevel=warn",
  );
  if (installed !== 0) {
    console.error("\nbootstrap: expected pnpm install to succeed; see its message above");
    return installed;
  }
  process.env.PATH = `${bin}${delimiter}${process.env.PATH}`;
  const pinned = existsSync(join(bin, "node"));
  const [major, minor] = process.versions.node.split(".").map(Number);
  if (!pinned && (major < OLDEST_NODE[0] || (major === OLDEST_NODE[0] && minor < OLDEST_NODE[1]))) {
    console.error(
      `bootstrap: expected Node ${OLDEST_NODE.join(".")} or newer on this platform, got ${process.versions.node}; install a newer Node`,
    );
    return 1;
  }
  const installTime = seconds(began);
  say(`installed in ${installTime}`);

  let buildTime = "";
  if (JOBS[job].prepare) {
    const buildBegan = Date.now();
    const built = run(
      `pnpm exec turbo run ${JOBS[job].prepare} --filter=./packages/* --output-logs=errors-only --ui=stream`,
    );
    if (built !== 0) return built;
    buildTime = seconds(buildBegan);
    say(`built in ${buildTime}`);
  }
  const workBegan = Date.now();
  const status = JOBS[job].work(args);
  if (job !== "test") {
    say(
      `install ${installTime}${buildTime && `, build ${buildTime}`}, ${job === "start" ? `quick start ${seconds(workBegan)}` : "ready"}`,
    );
  }
  return status;
}

function outer() {
  const [job = "install", ...args] = process.argv.slice(2);
  if (!(job in JOBS)) {
    console.error(`bootstrap: expected one of ${Object.keys(JOBS).join(", ")}, got "${job}"`);
    return 2;
  }
  say(`fetching ${packageManager} and the packages of pnpm-lock.yaml`);
  // Offline, plain npx waits a minute for the registry before it looks into its cache.
  return run(
    `npx --yes --prefer-offline --loglevel=error -p ${packageManager} -c "node scripts/bootstrap.mjs"`,
    {
      LOWRANK_BOOTSTRAP: JSON.stringify({ job, args, began: Date.now() }),
    },
  );
}

process.exitCode = process.env.LOWRANK_BOOTSTRAP ? inner() : outer();
