// The packages in a real browser: one Vite build (browser-tests/dist), served under several sets of headers to a
// Chromium without a window, and compared number by number with the same program here in Node. Then the page of
// examples/browser, as its user has it.
//
//   node scripts/browser-check.mjs [--json=FILE]
//
// The browser is LOWRANK_CHROMIUM or the first of the usual paths. Without one nothing is checked, which is a failure
// if LOWRANK_REQUIRE_BROWSER is set. Ends with a line "N passed, N failed".

import { existsSync, readFileSync, writeFileSync } from "node:fs";
import { createServer } from "node:http";
import { dirname, extname, join } from "node:path";
import { fileURLToPath } from "node:url";
import { chromium } from "playwright-core";
import { checkPage } from "../examples/browser/test/page.mjs";
import { hiddenChecks, MAKES_HIDDEN_PAGES_RUN } from "./browser-hidden.mjs";

const root = dirname(dirname(fileURLToPath(import.meta.url)));
const dist = join(root, "browser-tests", "dist");
const page = join(root, "examples", "browser", "dist");
const jsonFile = process.argv.find((option) => option.startsWith("--json="))?.slice("--json=".length);
const required = (process.env.LOWRANK_REQUIRE_BROWSER ?? "") !== "";

const results = { passed: 0, failed: 0, note: "" };
function finish() {
  if (jsonFile) writeFileSync(jsonFile, JSON.stringify(results));
  console.log(`${results.passed} passed, ${results.failed} failed`);
  process.exitCode = results.failed > 0 ? 1 : 0;
}

async function check(name, work) {
  let fault;
  try {
    await work();
  } catch (error) {
    fault = error instanceof Error ? error.message : String(error);
  }
  results[fault === undefined ? "passed" : "failed"]++;
  console.log(
    fault === undefined
      ? `  ok   ${name}`
      : `  FAIL ${name}\n${fault.replace(/^/gm, "       ").slice(0, 2000)}`,
  );
}

const expect = (condition, expected, got) => {
  if (!condition) throw new Error(`expected ${expected}, got ${got}`);
};
const equal = (got, expected, what) => expect(got === expected, `${what} to be ${expected}`, got);

// ---- what is served, and how

const ISOLATION = {
  "Cross-Origin-Opener-Policy": "same-origin",
  "Cross-Origin-Embedder-Policy": "require-corp",
};
const policy = (scripts) => ({
  "Content-Security-Policy": `default-src 'none'; script-src ${scripts}; worker-src 'self'; connect-src 'self'; img-src data:; base-uri 'none'; object-src 'none'`,
});
/** Headers by the first part of the path; `lost` hides the file of the threads. */
const SITES = {
  plain: { headers: {} },
  isolated: { headers: ISOLATION },
  policy: { headers: { ...ISOLATION, ...policy("'self' 'wasm-unsafe-eval'") } },
  "no-wasm": { headers: policy("'self'") },
  lost: { headers: ISOLATION, lost: true },
  "policy-and-lost": { headers: { ...ISOLATION, ...policy("'self' 'wasm-unsafe-eval'") }, lost: true },
};
const TYPES = { ".html": "text/html", ".js": "text/javascript", ".css": "text/css" };
const isThreadFile = (path) => /\bthread-[\w-]+\.js$/.test(path);

/** Paths that were asked for since the last look. */
let asked = [];
const server = createServer((request, response) => {
  const { pathname } = new URL(request.url, "http://localhost");
  const [, prefix, path] = /^\/([\w-]+)\/((?:assets\/[\w.-]+)?)$/.exec(pathname) ?? [];
  const site = Object.hasOwn(SITES, prefix ?? "") ? SITES[prefix] : undefined;
  const file = join(dist, path || "index.html");
  asked.push(pathname);
  if (site === undefined || !existsSync(file) || (site.lost && isThreadFile(path))) {
    response.writeHead(404, site?.headers).end();
    return;
  }
  response.writeHead(200, {
    ...site.headers,
    "Content-Type": TYPES[extname(file)] ?? "application/octet-stream",
  });
  response.end(readFileSync(file));
});

// ---- running

const FLAGS = [
  "--no-sandbox",
  "--disable-quic",
  "--no-first-run",
  "--disable-background-networking",
  "--disable-component-update",
  "--disable-sync",
];

function findChromium() {
  const chosen = process.env.LOWRANK_CHROMIUM;
  if (chosen) return existsSync(chosen) ? chosen : undefined;
  return ["/usr/bin/chromium", "/usr/bin/chromium-browser", "/usr/bin/google-chrome"].find(existsSync);
}

/** Opens a page and gives its outcome or error, what the console said, and what was fetched. */
async function visit(browser, origin, path) {
  const context = await browser.newContext();
  const page = await context.newPage();
  const complaints = [];
  page.on("console", (message) => {
    if (["error", "warning"].includes(message.type())) complaints.push(message.text());
  });
  page.on("pageerror", (error) => complaints.push(String(error)));
  asked = [];
  try {
    await page.goto(`${origin}${path}`);
    await page.waitForSelector("output[data-done]", { state: "attached", timeout: 120_000 });
    const outcome = JSON.parse(await page.textContent("output"));
    return { outcome, complaints, threadFiles: asked.filter(isThreadFile).length };
  } catch (error) {
    throw new Error(`${error.message}\nconsole: ${complaints.join("\n") || "silent"}`);
  } finally {
    await context.close();
  }
}

/** The run of a page that must succeed without a word on the console. */
async function succeed(browser, origin, path, expected) {
  const { outcome, complaints, threadFiles } = await visit(browser, origin, path);
  expect(outcome.error === undefined, "an outcome", outcome.error);
  for (const [name, value] of Object.entries(expected)) {
    equal(name === "threadFiles" ? threadFiles : outcome[name], value, name);
  }
  equal(complaints.join("; "), "", "the console");
  return outcome;
}

function expectSame(got, expected, tolerance) {
  let exact = true;
  for (const [name, wanted] of Object.entries(expected)) {
    const values = got[name];
    equal(values?.length, wanted.length, `the count of ${name}`);
    for (const [i, value] of wanted.entries()) {
      const error = Math.abs(values[i] - value);
      expect(
        Number.isFinite(values[i]) && error <= tolerance * (1 + Math.abs(value)),
        `${name}[${i}] to be ${value}`,
        values[i],
      );
      exact &&= error === 0;
    }
  }
  return exact;
}

async function checks(browser, origin) {
  const { run } = await import("../browser-tests/src/program.ts");
  const node = await run({ threads: 1 });
  let one;
  await check("a plain page, main thread: the backend finds itself and runs on one thread", async () => {
    one = await succeed(browser, origin, "/plain/?place=main", { threads: 1, isolated: false });
  });
  if (one === undefined) return;
  const { values } = one;
  await check("values, gradients, training and files are those of Node to 1e-5", () => {
    equal(one.relaxed, node.relaxed, "fused multiply-add");
    const exact = expectSame(values, node.values, 1e-5);
    console.log(`       ${exact ? "the same bits" : "not the same bits"}; ${one.milliseconds} ms`);
  });
  await check("a LoRA of a tiny Llama learns its batch", () => {
    const [first, last] = [values.losses[0], values.losses.at(-1)];
    console.log(`       loss ${first.toFixed(3)} to ${last.toFixed(3)} in ${values.losses.length} steps`);
    expect(last < first / 2, "the loss to halve", `${first} to ${last}`);
  });
  await check("a model and its adapter go through blobs unchanged", () => {
    expectSame({ logits: values["logits after saving and loading"] }, { logits: values.logits }, 0);
    expectSame(
      { f32: values["blob f32"], i32: values["blob i32"] },
      {
        f32: [...Float32Array.from({ length: 24 }, (_, i) => i / 7)],
        i32: [0, 1, 4, 9, 16],
      },
      0,
    );
  });
  await check("a browser without WebGPU says so in words", async () => {
    const { outcome } = await visit(browser, origin, "/plain/?place=main&device=webgpu");
    expect(/expected (navigator\.gpu|a GPU adapter)/.test(outcome.error), "an error", outcome.error);
  });
  await check(
    "a download into the browser's cache is stopped, taken up again, verified, and there offline",
    async () => {
      const { outcome } = await visit(browser, origin, "/plain/?hub");
      equal(outcome.error, undefined, "the error");
      equal(outcome.stopped, "enough", "the reason of the stop");
      // Two parts of 8 MiB were whole.
      equal(outcome.ranges.slice(0, 2).join(), ",bytes=16777216-19999999", "the ranges");
      equal([outcome.whole, outcome.offline].join(), "true,true", "the bytes, fetched and offline");
      expect(/expected a content with checksum/.test(outcome.lie), "a refusal of other bytes", outcome.lie);
      equal(JSON.stringify(outcome.cached), '[{"repo":"owner/name","sizeBytes":20000000}]', "the cache");
      equal(outcome.left, 0, "what is left after removal");
    },
  );
  await check("a plain page refuses two threads in words", async () => {
    const { outcome } = await visit(browser, origin, "/plain/?place=main&threads=2");
    expect(/threads to be 1 where shared memory is missing/.test(outcome.error), "a refusal", outcome.error);
  });

  await check(
    "an isolated page, main thread: one thread, and nothing that may not wait there waits",
    async () => {
      const main = await succeed(browser, origin, "/isolated/?place=main", {
        threads: 1,
        isolated: true,
        threadFiles: 0,
      });
      expectSame(main.values, values, 0);
    },
  );
  await check("an isolated page, main thread: two threads are refused in words", async () => {
    const { outcome } = await visit(browser, origin, "/isolated/?place=main&threads=2");
    expect(/the main thread of a page/.test(outcome.error), "a refusal", outcome.error);
  });

  // The bits of one thread are those of the page above; a thread that could not be started would be an error.
  const threaded = (name, path, expected) =>
    check(name, async () => {
      const outcome = await succeed(browser, origin, path, { isolated: true, threads: 2, ...expected });
      expectSame(outcome.values, values, 0);
      console.log(`       ${outcome.milliseconds} ms`);
    });
  await threaded(
    "a worker of an isolated page: two threads give the bits of one",
    "/isolated/?place=worker&threads=2",
    {
      threadFiles: 1,
    },
  );
  await check("a worker of an isolated page: threads by default are the cores, at most eight", async () => {
    const { outcome } = await visit(browser, origin, "/isolated/?place=worker");
    equal(outcome.threads, Math.min(8, outcome.cores), "threads");
    expectSame(outcome.values, values, 0);
  });
  await threaded(
    "under a policy of script-src 'self' 'wasm-unsafe-eval'; worker-src 'self': two threads",
    "/policy/?place=worker&threads=2",
    { threadFiles: 1 },
  );
  await check("under a policy without 'wasm-unsafe-eval': an error that names it", async () => {
    const { outcome } = await visit(browser, origin, "/no-wasm/?place=main&threads=1");
    expect(/needs script-src 'wasm-unsafe-eval'/.test(outcome.error), "an error with advice", outcome.error);
  });
  await check("without the file of the threads, they begin from a blob", async () => {
    const { outcome } = await visit(browser, origin, "/lost/?place=worker&threads=2");
    equal(outcome.error, undefined, "the error");
    equal(outcome.threads, 2, "threads");
    expectSame(outcome.values, values, 0);
  });
  await check(
    "with neither file nor blob: one thread by default, an error if more were asked for",
    async () => {
      const { outcome } = await visit(browser, origin, "/policy-and-lost/?place=worker");
      equal(outcome.error, undefined, "the error");
      equal(outcome.threads, 1, "threads");
      expectSame(outcome.values, values, 0);
      const asking = await visit(browser, origin, "/policy-and-lost/?place=worker&threads=2");
      expect(
        /expected 2 threads, got 1/.test(asking.outcome.error),
        "an error that counts threads",
        asking.outcome.error,
      );
    },
  );
}

/** WebGPU in a browser that has it, on the software GPU that comes with Chromium where there is no other. */
async function gpuChecks(browser, origin) {
  const { run } = await import("../browser-tests/src/program.ts");
  const node = await run({ threads: 1 });
  await check("WebGPU: one case of every op in every dtype agrees with the reference", async () => {
    const { outcome, complaints } = await visit(browser, origin, "/plain/?ops");
    expect(outcome.error === undefined, "an outcome", outcome.error);
    equal(outcome.faults.join("\n"), "", "the faults");
    expect(outcome.checked > 200, "more than 200 cases", outcome.checked);
    equal(complaints.join("; "), "", "the console");
    console.log(`       ${outcome.checked} cases, ${outcome.milliseconds} ms`);
  });
  for (const place of ["main", "worker"]) {
    await check(`WebGPU, ${place}: values, gradients, training and files are those of Node`, async () => {
      const outcome = await succeed(browser, origin, `/plain/?place=${place}&device=webgpu`, {
        device: "webgpu",
      });
      const { "greedy tokens": tokens, ...wanted } = node.values;
      expectSame(outcome.values, wanted, 1e-3);
      equal(String(outcome.values["greedy tokens"]), String(tokens), "the greedy tokens");
      console.log(`       ${outcome.milliseconds} ms`);
    });
  }
}

const executablePath = findChromium();
if (executablePath === undefined) {
  const where = process.env.LOWRANK_CHROMIUM ?? "/usr/bin/chromium or /usr/bin/google-chrome";
  results.note = `no browser at ${where}; install chromium or set LOWRANK_CHROMIUM`;
  console.log(`browser: ${results.note}`);
  if (required) results.failed++;
} else if (![dist, page].every((folder) => existsSync(join(folder, "index.html")))) {
  console.log(
    "browser: expected browser-tests/dist and examples/browser/dist; run pnpm test:browser, which builds them",
  );
  results.failed++;
} else {
  await new Promise((listening) => server.listen(0, "127.0.0.1", listening));
  const launch = (flags = [], options = {}) =>
    chromium.launch({ executablePath, args: [...FLAGS, ...flags], ...options });
  const origin = `http://127.0.0.1:${server.address().port}`;
  try {
    const gpu = ["--enable-unsafe-webgpu"];
    for (const [flags, work, options] of [
      [[], checks],
      [gpu, gpuChecks],
      [gpu, hiddenChecks, { ignoreDefaultArgs: MAKES_HIDDEN_PAGES_RUN }],
    ]) {
      const browser = await launch(flags, options);
      try {
        console.log(`  Chromium ${browser.version()} ${flags.join(" ")}`);
        await work(browser, origin, { check, expect });
      } finally {
        await browser.close();
      }
    }
  } finally {
    server.close();
  }
  await checkPage({ check, expect, launch });
}
finish();
