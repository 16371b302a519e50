import { mkdtempSync, readdirSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { noTestModels, testModel } from "../../../scripts/test-models.js";
import { makeData, makeModel, run, TINY } from "./harness.js";

const scratch = mkdtempSync(join(tmpdir(), "cli-convert-"));
afterAll(() => rmSync(scratch, { recursive: true }));
const at = (...parts: string[]): string => join(scratch, ...parts);
const ONE = ["--threads", "1"];
const GREEDY = ["--greedy", "--max-tokens", "8", ...ONE];

beforeAll(async () => {
  await makeModel(at("model"), { ...TINY, hidden_size: 64, initializer_range: 0.1 });
  makeData(at("data"));
  const tuned = await run([
    ...[
      "finetune",
      at("model"),
      at("data", "text.jsonl"),
      "--out",
      at("run"),
      "--steps",
      "6",
      "--lr",
      "0.05",
    ],
    ...["--batch", "2", "--length", "32", "--rank", "2", "--eval-share", "0", ...ONE],
  ]);
  expect(tuned.stderr).not.toContain("expected");
  expect(tuned.status).toBe(0);
});

const convert = (...argv: string[]) => run(["convert", ...argv, ...ONE]);
const text = async (...argv: string[]): Promise<string> =>
  (await run(["generate", argv[0]!, "the whale", ...argv.slice(1), ...GREEDY])).stdout;
const dtypes = async (path: string): Promise<string[]> =>
  Object.keys((await run(["info", path, "--json"])).records[0]!["dtypes"] as object).sort();

describe("convert", () => {
  test("a model becomes a GGUF file and a folder again, and writes the same", async () => {
    const there = await convert(at("model"), "--out", at("model.gguf"), "--type", "f32");
    expect(there.stderr).toBe("");
    expect(there.status).toBe(0);
    expect(there.stdout).toMatch(/^written +model to .*model\.gguf\nstored as +f32\n/);
    const back = await convert(at("model.gguf"), "--out", at("back"));
    expect(back.status).toBe(0);
    expect(readdirSync(at("back"))).toEqual(expect.arrayContaining(["config.json", "tokenizer.json"]));
    const wanted = await text(at("model"));
    expect(await text(at("model.gguf"))).toBe(wanted);
    expect(await text(at("back"))).toBe(wanted);
    expect(await dtypes(at("back"))).toEqual(["F32"]);
  });

  test("in half precision and in codes, in shards, and over an earlier one only with --overwrite", async () => {
    expect(
      (await convert(at("model"), "--out", at("half"), "--type", "bf16", "--shard-size", "1")).status,
    ).toBe(0);
    expect(await dtypes(at("half"))).toEqual(["BF16"]);
    for (const [type, held] of [
      ["stored", "F16"],
      ["q8_0", "Q8_0"],
      ["q4_0", "Q4_0"],
    ] as const) {
      const argv = [at("model"), "--out", at("coded.gguf"), "--type", type];
      const ran = type === "stored" ? await convert(...argv) : await convert(...argv, "--overwrite");
      expect(ran.status).toBe(0);
      expect(await dtypes(at("coded.gguf"))).toContain(held);
    }
    const again = await convert(at("model"), "--out", at("coded.gguf"));
    expect(again.status).toBe(1);
    expect(again.stderr).toMatch(
      /coded\.gguf: expected a free name, got a file; choose another, or replace it/,
    );
  });

  test("info tells what is in a GGUF file", async () => {
    await convert(at("model"), "--out", at("told.gguf"), "--type", "f32");
    const { stdout } = await run(["info", at("told.gguf")]);
    expect(stdout).toMatch(/^kind +gguf$/m);
    expect(stdout).toMatch(/^metadata general\.architecture +llama$/m);
    expect(stdout).toMatch(/^metadata tokenizer\.ggml\.tokens +a list of 4096$/m);
    const [told, folder] = await Promise.all(
      [at("told.gguf"), at("model")].map(async (path) => (await run(["info", path, "--json"])).records[0]!),
    );
    expect(told).toMatchObject({ kind: "gguf", supported: true, parameters: folder!["parameters"] });
  });

  test("an adapter becomes a LoRA in GGUF and PEFT's form again, and does the same", async () => {
    const adapter = at("run", "adapter");
    expect((await convert(at("model"), "--adapter", adapter, "--out", at("adapter.gguf"))).status).toBe(0);
    const back = await convert(at("model"), "--adapter", at("adapter.gguf"), "--out", at("adapter-back"));
    expect(back.status).toBe(0);
    const wanted = await text(at("model"), "--adapter", adapter);
    expect(wanted).not.toBe(await text(at("model")));
    expect(await text(at("model"), "--adapter", at("adapter-back"))).toBe(wanted);
    expect(JSON.parse(readFileSync(at("adapter-back", "adapter_config.json"), "utf8"))).toMatchObject({
      r: 2,
    });
  });

  test.each([
    [["--out", "x", "--type", "q4_0"], /^--type: expected f32, f16 or bf16 for a folder, got q4_0\n$/],
    [["--out", "x", "--adapter", "y"], /^--adapter: expected a LoRA in GGUF for this --out, got y\n$/],
    [["--out", "x.gguf", "--adapter", "y.gguf"], /^--adapter: expected a folder in PEFT's form/],
  ])("refuses %o", async (argv, message) => {
    const ran = await convert(at("model"), ...argv);
    expect(ran.stderr).toMatch(message);
    expect(ran.status).toBe(2);
  });

  test.skipIf(noTestModels)("a real GGUF file answers by its own chat template", async () => {
    const argv = [
      "What is the capital of France?",
      "--chat",
      "--greedy",
      "--max-tokens",
      "8",
      "--threads",
      "2",
    ];
    const { stdout, status } = await run(["generate", testModel("SmolLM2-135M-Instruct.Q4_1.gguf"), ...argv]);
    expect(status).toBe(0);
    expect(stdout).toContain("Paris");
  });
});
