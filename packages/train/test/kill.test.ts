import { spawn } from "node:child_process";
import { mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { buildSync } from "esbuild";
import { afterAll, beforeAll, expect, test } from "vitest";

const STEPS = 36;
const EVERY = 4;
const KILLS = 50;
const here = (path: string): string => fileURLToPath(new URL(path, import.meta.url));

const place = mkdtempSync(join(tmpdir(), "kill-"));
const script = join(place, "child.mjs");
let folders = 0;
let whole: { adapter: Map<string, string>; ms: number; points: string[] };

interface Outcome {
  signal: NodeJS.Signals | null;
  lines: string[];
  ms: number;
}

/** Starts the fine-tune, or goes on with it, in a folder; kills it after a time or lets it kill itself at a point. */
async function run(folder: string, { killAt = "never", killAfterMs = Number.POSITIVE_INFINITY } = {}) {
  const began = performance.now();
  const child = spawn(process.execPath, [script, folder, `${STEPS}`, `${EVERY}`, killAt]);
  let [out, err] = ["", ""];
  child.stdout.on("data", (piece: Buffer) => (out += piece.toString()));
  child.stderr.on("data", (piece: Buffer) => (err += piece.toString()));
  const timer = Number.isFinite(killAfterMs) && setTimeout(() => child.kill("SIGKILL"), killAfterMs);
  const outcome = await new Promise<Outcome>((resolve, reject) => {
    child.on("error", reject);
    child.on("close", (code, signal) => {
      if (code !== 0 && signal !== "SIGKILL") reject(new Error(`child ended with ${code ?? signal}: ${err}`));
      else resolve({ signal, lines: out.split("\n").filter(Boolean), ms: performance.now() - began });
    });
  });
  if (timer !== false) clearTimeout(timer);
  return outcome;
}

/** The files of the adapter, byte for byte. */
const adapterOf = (folder: string): Map<string, string> =>
  new Map(
    ["adapter_config.json", "adapter_model.safetensors"].map((name) => [
      name,
      readFileSync(join(folder, "adapter", name)).toString("base64"),
    ]),
  );
function newFolder(): string {
  const folder = join(place, `run-${folders++}`);
  mkdirSync(folder);
  return folder;
}

/** Cuts a file of the newest checkpoint in half. */
function breakNewest(folder: string, file: string): void {
  const checkpoints = join(folder, "checkpoints");
  const newest = readdirSync(checkpoints)
    .filter((name) => /^step-\d+$/.test(name))
    .sort()
    .at(-1)!;
  const path = join(checkpoints, newest, file);
  const bytes = readFileSync(path);
  writeFileSync(path, bytes.subarray(0, bytes.length >> 1));
}

beforeAll(async () => {
  buildSync({
    entryPoints: [here("./finetune-child.ts")],
    outfile: script,
    bundle: true,
    format: "esm",
    platform: "node",
    logLevel: "error",
    tsconfig: here("../../../tsconfig.base.json"),
    external: ["@observablehq/plot", "linkedom"], // of the report, which the child does not write
  });
  const folder = newFolder();
  const { ms, lines } = await run(folder, { killAt: "list" });
  whole = { adapter: adapterOf(folder), ms, points: [...new Set(lines)] };
});
afterAll(() => rmSync(place, { recursive: true, force: true }));

test("killed at 50 random moments and resumed each time, a fine-tune ends in the same bytes", async () => {
  let state = 20_26; // seed of the moments
  const random = (): number => {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0; // Numerical Recipes, section 7.1
    return state / 2 ** 32;
  };
  let [kills, ends, resumes] = [0, 0, 0];
  let folder = newFolder();
  while (kills < KILLS || ends === 0) {
    // From the first moments of the process to a little before it would end if it went on undisturbed.
    const killAfterMs = kills < KILLS ? whole.ms * (0.1 + 0.9 * random()) : undefined;
    const { signal, lines } = await run(folder, { killAfterMs });
    if (lines.some((line) => line.startsWith("resumed"))) resumes++;
    if (signal === "SIGKILL") {
      kills++;
      ends = 0;
      continue;
    }
    expect(adapterOf(folder), `run ${folders}, after ${kills} kills`).toEqual(whole.adapter);
    ends++;
    folder = newFolder();
  }
  expect(kills).toBe(KILLS);
  expect(resumes).toBeGreaterThan(KILLS / 5);
}, 300_000);

test("killed at every named point of a save and resumed, a fine-tune ends in the same bytes", async () => {
  expect(whole.points.length).toBeGreaterThan(50);
  for (const point of ["before rename step-N", "after sync manifest.json", "before remove step-N"])
    expect(whole.points).toContain(point);
  let folder = newFolder();
  for (const point of whole.points) {
    if ((await run(folder, { killAt: point })).signal === "SIGKILL") continue;
    // It ended before it came to the point again: a new run comes to it.
    expect(adapterOf(folder), point).toEqual(whole.adapter);
    folder = newFolder();
    expect((await run(folder, { killAt: point })).signal, point).toBe("SIGKILL");
  }
  await run(folder);
  expect(adapterOf(folder)).toEqual(whole.adapter);
  expect(readdirSync(join(folder, "checkpoints")).sort()).toEqual(["step-000032", "step-000036"]);
  expect(readdirSync(folder).sort()).toEqual(["adapter", "checkpoints"]);
}, 300_000);

test("killed while it replaces a broken checkpoint, a fine-tune ends in the same bytes", async () => {
  const replacing = ["rename step-N.old", "rename step-N", "remove step-N.old"].flatMap((act) => [
    `before ${act}`,
    `after ${act}`,
  ]);
  const folder = newFolder();
  // Two checkpoints and a third to come; the newest is broken by hand and has to be written again.
  await run(folder, { killAt: "before remove step-N" });
  for (const [i, point] of replacing.entries()) {
    breakNewest(folder, ["parameters.safetensors", "optimizer.safetensors", "state.json"][i % 3]!);
    const { signal, lines } = await run(folder, { killAt: point });
    expect(signal, point).toBe("SIGKILL");
    expect(lines[0], point).toMatch(/^resumed after step/);
  }
  await run(folder);
  expect(adapterOf(folder)).toEqual(whole.adapter);
}, 120_000);
