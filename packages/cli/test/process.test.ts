import { spawn, spawnSync } from "node:child_process";
import { existsSync, mkdtempSync, readdirSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { build } from "esbuild";
import { afterAll, beforeAll, expect, test } from "vitest";
import { makeData, makeModel } from "./harness.js";

const scratch = mkdtempSync(join(tmpdir(), "cli-process-"));
afterAll(() => rmSync(scratch, { recursive: true }));
const at = (...parts: string[]): string => join(scratch, ...parts);
const packages = fileURLToPath(new URL("../../", import.meta.url));
const program = at("lowrank.mjs");

beforeAll(async () => {
  // The program as one file, built from the sources of every package.
  await build({
    entryPoints: [join(packages, "cli", "src", "bin.ts")],
    outfile: program,
    bundle: true,
    format: "esm",
    platform: "node",
    target: "node20",
    logLevel: "error",
    external: ["webgpu", "koffi"], // not to be found from there
    banner: {
      js: 'import { createRequire } from "node:module"; const require = createRequire(import.meta.url);',
    },
    plugins: [
      {
        name: "sources",
        setup(b) {
          b.onResolve({ filter: /^@lowrank\// }, ({ path }) => {
            const [, name, entry = "index"] = path.split("/");
            return { path: join(packages, name!, "src", `${entry}.ts`) };
          });
        },
      },
    ],
  });
  await makeModel(at("model"));
  makeData(at("data"));
});

const lowrank = (...argv: string[]) => spawnSync(process.execPath, [program, ...argv], { encoding: "utf8" });

test("the program ends with the status of what it did", () => {
  const help = lowrank("--help");
  expect(help.stdout).toContain("finetune");
  expect(help.status).toBe(0);
  const usage = lowrank("info");
  expect(usage.stderr).toMatch(/^PATH: expected the path of a file or folder, got nothing; .*\n$/);
  expect(usage.status).toBe(2);
  const failed = lowrank("info", at("none"));
  expect(failed.stderr).toMatch(/none: expected a folder, a file, .+ got nothing of that name .*\n$/);
  expect(failed.status).toBe(1);
});

test("threads end with the command, which took wasm for want of Dawn and koffi", () => {
  const ran = lowrank("generate", at("model"), "the whale", "--max-tokens", "4", "--threads", "2");
  expect(ran.stderr).toMatch(
    /^computing on wasm, 2 threads \(no GPU: dawn: expected Dawn to load, got no package .*; native: koffi, which calls a BLAS, does not load, .*\)\n$/,
  );
  expect(ran.stdout).not.toBe("");
  expect(ran.status).toBe(0);
});

test("Ctrl-C ends a training after the step under way, and a checkpoint is kept", async () => {
  const argv = ["finetune", at("model"), at("data", "text.jsonl"), "--out", at("run"), "--json"];
  const child = spawn(process.execPath, [
    program,
    ...argv,
    ...[
      "--device",
      "wasm",
      "--steps",
      "100000",
      "--batch",
      "1",
      "--length",
      "16",
      "--threads",
      "1",
      "--eval-share",
      "0",
    ],
  ]);
  let [told, errors] = ["", ""];
  child.stderr.on("data", (piece: Buffer) => (errors += piece.toString()));
  child.stdout.on("data", (piece: Buffer) => {
    if (!told.includes('"step":3,') && (told += piece.toString()).includes('"step":3,')) child.kill("SIGINT");
  });
  const status = await new Promise((resolve) => child.on("close", resolve));
  expect(status).toBe(130);
  expect(errors).toMatch(/stopped after step \d+ of 100000; go on with the same command and --resume\n$/);
  expect(readdirSync(at("run", "checkpoints"))).toHaveLength(1);
  expect(existsSync(at("run", "adapter"))).toBe(false);
});

test("a reader that has seen enough is no fault", async () => {
  const child = spawn(process.execPath, [program, "finetune", "--help"]);
  let errors = "";
  child.stderr.on("data", (piece: Buffer) => (errors += piece.toString()));
  child.stdout.destroy();
  expect(await new Promise((resolve) => child.on("close", resolve))).toBe(0);
  expect(errors).toBe("");
});

test("SIGTERM lets a server end what is under way, whole, and nothing new begin", async () => {
  const argv = ["serve", at("model"), "--port", "0", "--device", "wasm", "--threads", "1", "--slots", "1"];
  const child = spawn(process.execPath, [program, ...argv, "--json"]);
  const ended = new Promise((resolve) => child.on("close", resolve));
  const { url, token } = await new Promise<{ url: string; token: string }>((resolve) => {
    let told = "";
    child.stdout.on("data", (piece: Buffer) => {
      told += piece.toString();
      const line = told.split("\n").find((part) => part.includes('"listening"'));
      if (line !== undefined) resolve(JSON.parse(line));
    });
  });
  const ask = (): Promise<Response> =>
    fetch(`${url}/v1/completions`, {
      method: "POST",
      headers: { "content-type": "application/json", authorization: `Bearer ${token}` },
      body: JSON.stringify({ prompt: "whale", max_tokens: 100, seed: 1, stream: true, stop: "\u0000" }),
    });
  const answers = await Promise.all(Array.from({ length: 12 }, ask));
  child.kill("SIGTERM");
  await new Promise((resolve) => child.stderr.on("data", resolve)); // it says that it stops
  expect((await ask()).status).toBe(503);
  const texts = await Promise.all(answers.map((answer) => answer.text()));
  for (const text of texts)
    expect(text).toMatch(/"finish_reason":"(length|stop)"[^\n]*\n\ndata: \[DONE\]\n\n$/);
  expect(await ended).toBe(0);
});
