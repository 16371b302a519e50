import { cpSync, mkdirSync, mkdtempSync, readFileSync, rmSync, truncateSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, expect, test } from "vitest";
import { makeData, makeModel, run, TINY, tree } from "./harness.js";

const scratch = mkdtempSync(join(tmpdir(), "cli-bad-"));
afterAll(() => rmSync(scratch, { recursive: true }));
const at = (...parts: string[]): string => join(scratch, ...parts);
const json = (path: string): Record<string, unknown> => JSON.parse(readFileSync(path, "utf8"));

/** A copy of the model in which one thing is wrong. */
function broken(name: string, harm: (folder: string) => void): void {
  cpSync(at("model"), at(name), { recursive: true });
  harm(at(name));
}

/** A safetensors file with a header of one's own. */
function safetensors(path: string, header: object | string, dataBytes: number, length?: bigint): void {
  const text = Buffer.from(typeof header === "string" ? header : JSON.stringify(header));
  const size = Buffer.alloc(8);
  size.writeBigUInt64LE(length ?? BigInt(text.length));
  writeFileSync(path, Buffer.concat([size, text, Buffer.alloc(dataBytes)]));
}

beforeAll(async () => {
  await makeModel(at("model"));
  await makeModel(at("wider"), { ...TINY, hidden_size: 32 });
  makeData(at("data"));
  const ran = await run([
    ...["finetune", at("model"), at("data", "text.jsonl"), "--out", at("run")],
    ...["--steps", "2", "--batch", "2", "--length", "32", "--rank", "2", "--threads", "1"],
  ]);
  expect(ran.status).toBe(0);

  broken("no-config", (f) => rmSync(join(f, "config.json")));
  broken("bad-config", (f) => writeFileSync(join(f, "config.json"), '{"model_type": "llama",'));
  broken("no-tokenizer", (f) => rmSync(join(f, "tokenizer.json")));
  broken("bad-tokenizer", (f) => writeFileSync(join(f, "tokenizer.json"), '{"model": 3}'));
  broken("unknown", (f) => {
    const config = { ...json(join(f, "config.json")), architectures: ["MambaForCausalLM"] };
    writeFileSync(join(f, "config.json"), JSON.stringify(config));
  });
  broken("deeper", (f) => {
    writeFileSync(
      join(f, "config.json"),
      JSON.stringify({ ...json(join(f, "config.json")), num_hidden_layers: 3 }),
    );
  });
  broken("truncated", (f) => truncateSync(join(f, "model.safetensors"), 5000));
  const weights = (f: string): string => join(f, "model.safetensors");
  broken("huge-header", (f) => safetensors(weights(f), {}, 0, 1n << 60n));
  const f32 = (from: number, to: number) => ({ dtype: "F32", shape: [2], data_offsets: [from, to] });
  broken("overlapping", (f) => safetensors(weights(f), { a: f32(0, 8), b: f32(4, 12) }, 12));
  broken("out-of-range", (f) => safetensors(weights(f), { a: f32(0, 8), b: f32(8, 1 << 20) }, 16));
  broken("integers", (f) => {
    const file = readFileSync(weights(f));
    // A name of the same length, so that the header keeps its size; F32 and I32 have the same width.
    writeFileSync(weights(f), Buffer.from(file.toString("latin1").replaceAll('"F32"', '"I32"'), "latin1"));
  });
  cpSync(at("run", "adapter"), at("cut-adapter"), { recursive: true });
  truncateSync(at("cut-adapter", "adapter_model.safetensors"), 300);
  cpSync(at("run", "adapter"), at("other-method"), { recursive: true });
  writeFileSync(
    at("other-method", "adapter_config.json"),
    JSON.stringify({ ...json(at("run", "adapter", "adapter_config.json")), peft_type: "IA3" }),
  );
  mkdirSync(at("pickle"));
  cpSync(at("run", "adapter", "adapter_config.json"), at("pickle", "adapter_config.json"));
  writeFileSync(at("pickle", "adapter_model.bin"), "cos\nsystem\n");
  writeFileSync(at("data", "broken.jsonl"), '{"text": "whole"}\n{"text": \n');
  writeFileSync(at("data", "odd.jsonl"), '{"text": "whole"}\n{"question": "?"}\n');
  writeFileSync(at("data", "empty.txt"), " \n");
  writeFileSync(at("data", "latin1.txt"), Buffer.from([0x67, 0xe4, 0x6e, 0x73, 0x65]));
  writeFileSync(at("data", "table.csv"), "text\nwhale\n");
  writeFileSync(at("unknown-key.yaml"), "rank: 4\nlearnRate: 0.1\n");
  writeFileSync(at("bad-value.yaml"), "rank: four\n");
  writeFileSync(at("broken.yaml"), "rank: [4\n");
  writeFileSync(at("list.json"), "[1, 2]");
  writeFileSync(at("a-file"), "kept");
});

type Case = readonly [name: string, argv: () => string[], status: number, message: RegExp];
const text = (): string => at("data", "text.jsonl");
const tune = (...more: string[]): string[] => [
  ...["finetune", at("model"), text(), "--out", at("new"), "--steps", "2", "--batch", "2", "--length", "32"],
  ...["--threads", "1", ...more],
];
const score = (model: string, ...more: string[]): string[] => [
  "evaluate",
  at(model),
  text(),
  "--threads",
  "1",
  ...more,
];
const learn = (data: string): string[] => ["evaluate", at("model"), at("data", data), "--threads", "1"];
const merge = (adapter: string, model = "model"): string[] => [
  "merge",
  at(model),
  at(adapter),
  "--out",
  at("new"),
  "--threads",
  "1",
];

const cases: readonly Case[] = [
  // the command line
  [
    "an unknown command",
    () => ["finetun"],
    2,
    /^lowrank: expected one of pull, .*finetune, .*got "finetun"; the nearest is finetune$/,
  ],
  ["an option before the command", () => ["--json=1", "info"], 2, /expected a command before the options/],
  [
    "an unknown option",
    () => tune("--learning-rate", "1"),
    2,
    /got --learning-rate; the nearest is --\S+, and --help/,
  ],
  [
    "a missing operand",
    () => ["finetune", at("model"), "--out", at("new")],
    2,
    /^DATA: expected the path of a file, got nothing;/,
  ],
  [
    "a missing folder for results",
    () => ["finetune", at("model"), text()],
    2,
    /^--out: expected the path of a folder, got nothing/,
  ],
  [
    "an operand too many",
    () => ["info", at("model"), "more"],
    2,
    /^command line: expected one operand, got 2, the last "more"/,
  ],
  [
    "a rank that is no integer",
    () => tune("--rank", "2.5"),
    2,
    /^--rank: expected an integer of at least 1, got "2.5"$/,
  ],
  ["a rank without a value", () => tune("--rank"), 2, /^--rank: expected an integer of at least 1, got ""$/],
  [
    "a rate that is no number",
    () => tune("--lr", "fast"),
    2,
    /^--lr: expected a number of at least 0, got "fast"$/,
  ],
  [
    "a word that is none of the choices",
    () => tune("--device", "gpu"),
    2,
    /^--device: expected one of auto, webgpu, native, wasm, reference, got "gpu"$/,
  ],
  [
    "a switch that is neither on nor off",
    () => tune("--rslora=maybe"),
    2,
    /^--rslora: expected true or false, got "maybe"$/,
  ],
  [
    "too many threads",
    () => score("model", "--threads", "500"),
    2,
    /^--threads: expected an integer from 1 to 64, got "500"$/,
  ],
  ["steps and epochs", () => tune("--epochs", "2"), 2, /^--steps: expected steps or epochs, got both$/],
  [
    "overwrite and resume",
    () => tune("--overwrite", "--resume"),
    2,
    /expected overwrite or resume, got both$/,
  ],
  [
    "early stop without held-out texts",
    () => tune("--early-stop", "2", "--eval-share", "0"),
    2,
    /^--early-stop: expected held-out texts to go by/,
  ],
  [
    "a system message without chat",
    () => ["generate", at("model"), "x", "--system", "y", "--threads", "1"],
    2,
    /^--system: expected --chat with it/,
  ],
  [
    "an unknown key in a settings file",
    () => tune("--config", at("unknown-key.yaml")),
    2,
    /unknown-key\.yaml: expected known options, got "learn-rate"; the nearest is "\S+"/,
  ],
  [
    "a bad value in a settings file",
    () => tune("--config", at("bad-value.yaml")),
    2,
    /bad-value\.yaml, rank: expected an integer of at least 1, got "four"$/,
  ],
  [
    "a settings file that is no YAML",
    () => tune("--config", at("broken.yaml")),
    1,
    /broken\.yaml, line \d+, column \d+: expected YAML or JSON, got /,
  ],
  [
    "a settings file that is a list",
    () => tune("--config", at("list.json")),
    1,
    /list\.json: expected a mapping of options to values/,
  ],
  [
    "a settings file that is not there",
    () => tune("--config", at("none.yaml")),
    1,
    /none\.yaml: expected a file, got nothing of that name/,
  ],
  // models
  [
    "a model that is not there",
    () => score("none"),
    1,
    /none: expected a folder, a file, .+ got nothing of that name/,
  ],
  ["a model that is a file", () => score("a-file"), 1, /a-file: expected a folder, got a file/],
  ["a model without a configuration", () => score("no-config"), 1, /expected config\.json, got no such file/],
  ["a configuration cut short", () => score("bad-config"), 1, /bad-config\/config\.json: expected .*byte 23/],
  [
    "an unknown architecture",
    () => score("unknown"),
    1,
    /expected one of the architectures LlamaForCausalLM, .*, got "MambaForCausalLM"$/,
  ],
  [
    "weights that lack a layer",
    () => score("deeper"),
    1,
    /expected the \d+ tensors of LlamaForCausalLM .* got .*model\.layers\.2\./,
  ],
  ["weights cut short", () => score("truncated"), 1, /model\.safetensors: expected .* got /],
  ["an oversized header", () => score("huge-header"), 1, /model\.safetensors: expected .*header/],
  [
    "overlapping tensors",
    () => score("overlapping"),
    1,
    /model\.safetensors: expected .*(overlap|offset|begin)/,
  ],
  ["offsets out of range", () => score("out-of-range"), 1, /model\.safetensors: expected .*b/],
  ["weights of integers", () => score("integers"), 1, /expected one of F64, F32, F16, BF16, got I32$/],
  [
    "a model without a tokenizer",
    () => score("no-tokenizer"),
    1,
    /no-tokenizer: expected tokenizer\.json, got no such file/,
  ],
  ["a malformed tokenizer", () => score("bad-tokenizer"), 1, /bad-tokenizer\/tokenizer\.json: expected /],
  [
    "info on a folder that is no model",
    () => ["info", at("data")],
    1,
    /data: expected config\.json of a model or adapter_config\.json of an adapter, got neither/,
  ],
  [
    "info on a damaged file",
    () => ["info", at("truncated", "model.safetensors")],
    1,
    /model\.safetensors: expected /,
  ],
  // data
  [
    "data that is not there",
    () => learn("none.jsonl"),
    1,
    /none\.jsonl: expected a file, got nothing of that name/,
  ],
  ["a line that is no JSON", () => learn("broken.jsonl"), 1, /broken\.jsonl, line 2: expected JSON, got /],
  [
    "a record of no known form",
    () => learn("odd.jsonl"),
    1,
    /odd\.jsonl, line 2: expected an object with "text", .* got members question/,
  ],
  [
    "a file of another kind",
    () => learn("table.csv"),
    1,
    /table\.csv: expected a file named \.jsonl .* or \.txt/,
  ],
  ["an empty text", () => learn("empty.txt"), 1, /empty\.txt: expected text, got none/],
  [
    "bytes that are no text",
    () => learn("latin1.txt"),
    1,
    /latin1\.txt: expected text in UTF-8, got bytes that are none/,
  ],
  ["a conversation without a chat template", () => learn("chat.jsonl"), 1, /expected a chat template in /],
  [
    "a chat with a base model",
    () => ["generate", at("model"), "x", "--chat", "--threads", "1"],
    1,
    /expected a chat template in /,
  ],
  // adapters
  [
    "an adapter that is not there",
    () => score("model", "--adapter", at("none")),
    1,
    /none: expected a folder, .*got nothing/,
  ],
  [
    "an adapter for another base",
    () => score("wider", "--adapter", at("run", "adapter")),
    1,
    /for this model's layers, got .*the adapter is for another base/,
  ],
  ["an adapter cut short", () => merge("cut-adapter"), 1, /adapter_model\.safetensors: expected /],
  [
    "an adapter of another method",
    () => merge("other-method"),
    1,
    /adapter_config\.json: expected peft_type to be one of LORA, got "IA3"/,
  ],
  [
    "an adapter that is a pickle",
    () => merge("pickle"),
    1,
    /got adapter_model\.bin, a pickle file that runs code/,
  ],
  // training
  [
    "rows longer than the model",
    () => tune("--length", "4096"),
    1,
    /^--length: expected at most 128, the positions of the model, got 4096$/,
  ],
  [
    "a rank above the size of a layer",
    () => tune("--rank", "64"),
    1,
    /lora: expected rank to be an integer from 1 to /,
  ],
  [
    "targets that no layer has",
    () => tune("--targets", "q_porj"),
    1,
    /got "q_porj"; the nearest names in the model are "q_proj"/,
  ],
  ["a regular expression that is none", () => tune("--targets", "(q_proj"), 1, /attach, targets: expected /],
  [
    "results over an earlier run",
    () => tune("--out", at("run")),
    1,
    /run: expected an empty folder or a free name, got a folder with files; choose another, go on with --resume/,
  ],
  [
    "results over a file",
    () => tune("--out", at("a-file")),
    1,
    /a-file: expected a folder or a free name, got a file in its place$/,
  ],
  [
    "a merge over an earlier folder",
    () => ["merge", at("model"), at("run", "adapter"), "--out", at("run"), "--threads", "1"],
    1,
    /or replace it with --overwrite$/,
  ],
  [
    "a loss that is no number",
    () => tune("--lr", "1e30", "--clip", "0", "--steps", "9", "--eval-share", "0"),
    1,
    /^train, step \d+: expected a finite loss/m,
  ],
];

test.each(cases)("%s is told in one line and changes nothing", async (name, argv, status, message) => {
  const before = tree(scratch);
  const ran = await run(argv());
  const lines = ran.stderr.trimEnd().split("\n");
  expect(lines.at(-1)).toMatch(message);
  expect(ran.stderr).not.toMatch(/^\s+at /m);
  expect(ran.status).toBe(status);
  expect(ran.stdout).toBe("");
  if (name !== "a loss that is no number") expect(lines).toHaveLength(1);
  expect(tree(scratch)).toEqual(before);
});

test("--debug adds where it arose, --json a line for programs", async () => {
  const debug = await run([...score("none"), "--debug"]);
  expect(debug.stderr).toMatch(/^\s+at /m);
  const { records } = await run([...score("none"), "--json"]);
  expect(records).toMatchObject([
    {
      type: "error",
      code: "LOWRANK_FORMAT",
      where: at("none"),
      expected: "a folder, a file, or owner/name of a model on the Hub",
      got: "nothing of that name",
    },
  ]);
});
