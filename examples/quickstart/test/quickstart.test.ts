import { spawn } from "node:child_process";
import { mkdtemp, readFile, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { fromPretrained, loadTokenizer, perplexity } from "@lowrank/models";
import { loadPeft } from "@lowrank/adapters";
import { batchTensors } from "@lowrank/train";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { Budget } from "../src/budget.js";
import { chapters, heldOut } from "../src/text.js";

const root = fileURLToPath(new URL("../", import.meta.url));

function quickstart(
  words: readonly string[],
): Promise<{ code: number | null; stdout: string; stderr: string }> {
  return new Promise((resolve, reject) => {
    const child = spawn(process.execPath, ["--import", "tsx", "src/main.ts", ...words], { cwd: root });
    let [stdout, stderr] = ["", ""];
    child.stdout.on("data", (chunk) => {
      stdout += chunk;
    });
    child.stderr.on("data", (chunk) => {
      stderr += chunk;
    });
    child.on("error", reject);
    child.on("close", (code) => resolve({ code, stdout, stderr }));
  });
}

describe("the quick start", () => {
  let out = "";
  beforeAll(async () => {
    out = await mkdtemp(join(tmpdir(), "quickstart-"));
  });
  afterAll(() => rm(out, { recursive: true }));

  test("lowers held-out perplexity with few parameters, and leaves an adapter that does the same when it is loaded", async () => {
    const { code, stdout, stderr } = await quickstart(["--quick", "--json", "--out", out]);
    expect(stderr).toBe("");
    expect(code).toBe(0);
    const facts = JSON.parse(stdout);
    expect(facts.perplexityAfter).toBeLessThan(0.97 * facts.perplexityBefore);
    expect(facts.reduction).toBeCloseTo(1 - facts.perplexityAfter / facts.perplexityBefore, 12);
    expect(facts.share).toBeLessThan(0.03);
    expect(facts.mergedLogitDifference).toBeLessThan(1e-4);
    expect(facts.continuationBefore).not.toBe(facts.continuationAfter);
    expect(facts.peakTensorBytes).toBeGreaterThan(2 * facts.total); // the weights alone, in half precision

    const model = await fromPretrained(`${root}model`);
    const tokenizer = await loadTokenizer(`${root}model`);
    await loadPeft(model, facts.adapter);
    const batches = heldOut(await chapters(`${root}data/moby-dick-heldout.jsonl`, tokenizer, 1), 64);
    const again = await perplexity(model, batches.map(batchTensors));
    expect(again.perplexity / facts.perplexityAfter).toBeCloseTo(1, 5);
    const report = await readFile(facts.report, "utf8");
    expect(report).toContain("<svg");
    expect(report).not.toMatch(/<script|(src|href)="http/);
  });

  test("names a setting that it cannot use", async () => {
    const { code, stderr } = await quickstart(["--rank", "many"]);
    expect(code).toBe(2);
    expect(stderr).toBe('--rank: expected an integer of at least 1, got "many"; --help lists the settings\n');
    const other = await quickstart(["--device", "gpu"]);
    expect(other.code).toBe(2);
    expect(other.stderr).toBe(
      '--device: expected wasm, native or webgpu, got "gpu"; --help lists the settings\n',
    );
  });
});

describe("Budget", () => {
  test("on a fast machine all steps are done, the rate falling from the peak to a tenth", () => {
    const budget = new Budget({ steps: 50, peak: 1, seconds: 100 });
    const rates: number[] = [];
    for (let step = 0; step < 50; step++) {
      rates.push(budget.lr(step));
      budget.spend(10);
    }
    expect(budget.signal.aborted).toBe(false);
    expect(Math.max(...rates)).toBe(1);
    expect(rates[9]).toBe(1); // the last step of the warm-up
    expect(rates[49]).toBeLessThan(0.11);
  });

  test("on a slow machine the run ends before its time is over, with a low rate", () => {
    const budget = new Budget({ steps: 500, peak: 1, seconds: 100 });
    let step = 0;
    let rate = 0;
    for (; step < 500 && !budget.signal.aborted; step++) {
      rate = budget.lr(step);
      budget.spend(1000);
    }
    expect(step).toBe(100);
    expect(rate).toBeLessThan(0.11);
  });
});
