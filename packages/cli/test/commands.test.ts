import { cpSync, existsSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { makeData, makeModel, run, tree } from "./harness.js";

const scratch = mkdtempSync(join(tmpdir(), "cli-"));
afterAll(() => rmSync(scratch, { recursive: true }));
const at = (...parts: string[]): string => join(scratch, ...parts);

const FAST = ["--threads", "1", "--batch", "2", "--length", "32"];
const TRAIN = [
  ...FAST,
  "--steps",
  "12",
  "--lr",
  "0.02",
  "--rank",
  "2",
  "--save-every",
  "5",
  "--eval-every",
  "6",
];
const finetune = (out: string, ...more: string[]): string[] => [
  "finetune",
  at("model"),
  at("data", "text.jsonl"),
  "--out",
  out,
  ...TRAIN,
  ...more,
];

beforeAll(async () => {
  await makeModel(at("model"));
  makeData(at("data"));
  const first = await run(finetune(at("first"), "--json"));
  expect(first.stderr).toBe("");
  expect(first.status).toBe(0);
});

describe("finetune", () => {
  test("leaves an adapter, a report, a log and the two newest checkpoints", () => {
    expect(readdirSync(at("first")).sort()).toEqual(["adapter", "checkpoints", "log.jsonl", "report.html"]);
    expect(readdirSync(at("first", "adapter")).sort()).toEqual([
      "adapter_config.json",
      "adapter_model.safetensors",
      "manifest.json",
    ]);
    expect(readdirSync(at("first", "checkpoints")).sort()).toEqual(["step-000010", "step-000012"]);
    const config = JSON.parse(readFileSync(at("first", "adapter", "adapter_config.json"), "utf8"));
    expect(config).toMatchObject({
      peft_type: "LORA",
      r: 2,
      lora_alpha: 4,
      base_model_name_or_path: at("model"),
    });
    expect(config.target_modules).toHaveLength(14);
    expect(readFileSync(at("first", "report.html"), "utf8")).toContain("<svg");
  });

  test("logs settings, the score before, every step and what follows", () => {
    const events = readFileSync(at("first", "log.jsonl"), "utf8")
      .trim()
      .split("\n")
      .map((l) => JSON.parse(l));
    expect(events[0]).toMatchObject({ type: "settings", rank: 2, steps: 12, lr: 0.02 });
    expect(events.filter((e) => e.type === "step").map((e) => e.step)).toEqual(
      Array.from({ length: 12 }, (_, i) => i + 1),
    );
    expect(events.filter((e) => e.type === "eval").map((e) => e.step)).toEqual([0, 6, 12]);
    expect(events.at(-1)).toMatchObject({ type: "end", step: 12, reason: "done" });
    for (const e of events) expect(Date.parse(e.time)).not.toBeNaN();
  });

  test("with --json tells the result, and the loss has fallen", async () => {
    const { records, status } = await run(finetune(at("json"), "--json"));
    expect(status).toBe(0);
    const steps = records.filter((r) => r["type"] === "step");
    expect(steps.at(-1)!["loss"]).toBeLessThan(steps[0]!["loss"] as number);
    const result = records.at(-1)!;
    expect(result).toMatchObject({
      type: "result",
      steps: 12,
      reason: "done",
      adapter: `${at("json")}/adapter`,
    });
    expect(result["perplexityAfter"]).toBeLessThan(result["perplexityBefore"] as number);
    expect(result["share"]).toBeCloseTo((result["trainable"] as number) / (result["total"] as number), 12);
  });

  test("gives the same bytes for the same seed, and others for another", async () => {
    const weights = (out: string): string =>
      readFileSync(at(out, "adapter", "adapter_model.safetensors"), "base64");
    await run(finetune(at("again")));
    await run(finetune(at("other"), "--seed", "5"));
    expect(weights("again")).toBe(weights("first"));
    expect(weights("other")).not.toBe(weights("first"));
  });

  test("tells where the time went, and leaves a trace of the whole run", async () => {
    const trace = at("traces", "run.json");
    const { status, stdout } = await run(
      finetune(at("profiled"), "--steps", "2", "--profile", "--trace", trace),
    );
    expect(status).toBe(0);
    expect(stdout).toMatch(/^ share +ms +runs +ms\/run +GB\/s +GFLOP\/s +group$/m);
    expect(stdout).toMatch(/^ *\d+\.\d % .* matmul of /m);
    expect(stdout).toMatch(/^ *\d+\.\d % .* host: schedule$/m);
    expect(stdout).toContain(`trace  ${trace}, opens in`);
    const { traceEvents } = JSON.parse(readFileSync(trace, "utf8"));
    expect(traceEvents.filter((e: { cat?: string }) => e.cat === "group").length).toBeGreaterThan(100);
    expect(readdirSync(at("traces"))).toEqual(["run.json"]);
    const { records } = await run(finetune(at("profiled-json"), "--steps", "1", "--profile", "--json"));
    const rows = records.find((r) => r["type"] === "profile")!["rows"] as { share: number }[];
    expect(rows.reduce((sum, row) => sum + row.share, 0)).toBeCloseTo(1, 9);
    const refused = await run(finetune(at("unmeasured"), "--device", "reference", "--profile"));
    expect(refused.status).toBe(2);
    expect(refused.stderr).toBe(
      "--profile: expected --device wasm or webgpu, which can be measured, got --device reference\n",
    );
  });

  test("stopped by its signal it keeps a checkpoint, and resumed it ends with the same bytes", async () => {
    const controller = new AbortController();
    const stopped = await run(finetune(at("stopped"), "--json"), {
      signal: controller.signal,
      onOutput: (text) => text.includes('"type":"step","step":7') && controller.abort(),
    });
    expect(stopped.status).toBe(130);
    expect(stopped.stderr).toBe("stopped after step 7 of 12; go on with the same command and --resume\n");
    expect(existsSync(at("stopped", "adapter"))).toBe(false);
    expect(readdirSync(at("stopped", "checkpoints"))).toContain("step-000007");
    const resumed = await run(finetune(at("stopped"), "--resume"));
    expect(resumed.status).toBe(0);
    expect(resumed.stderr).toContain("going on after step 7");
    const bytes = (out: string): string =>
      readFileSync(at(out, "adapter", "adapter_model.safetensors"), "base64");
    expect(bytes("stopped")).toBe(bytes("first"));
    const log = readFileSync(at("stopped", "log.jsonl"), "utf8")
      .trim()
      .split("\n")
      .map((l) => JSON.parse(l));
    expect(log.filter((e) => e.type === "step").map((e) => e.step)).toEqual(
      Array.from({ length: 12 }, (_, i) => i + 1),
    );
    expect(log.filter((e) => e.type === "eval").map((e) => e.step)).toEqual([0, 6, 12]);
  });

  test("refuses to resume as another run, and warns where only exactness is lost", async () => {
    cpSync(at("first"), at("resumed"), { recursive: true });
    const before = tree(at("resumed"));
    const refused = await run(finetune(at("resumed"), "--resume", "--alpha", "9"));
    expect(refused.status).toBe(1);
    expect(refused.stderr).toContain("expected --alpha as the run began, its default, got 9");
    expect(tree(at("resumed"))).toEqual(before);
    const longer = await run(finetune(at("resumed"), "--resume", "--steps", "14", "--json"));
    expect(longer.status).toBe(0);
    expect(longer.records[0]).toMatchObject({ type: "warning" });
    expect(longer.records.at(-1)).toMatchObject({ type: "result", steps: 14 });
  });

  test("--overwrite puts a new run in the place of an earlier one when it has ended", async () => {
    cpSync(at("first"), at("replaced"), { recursive: true });
    const ran = await run(finetune(at("replaced"), "--overwrite", "--rank", "1"));
    expect(ran.status).toBe(0);
    const config = JSON.parse(readFileSync(at("replaced", "adapter", "adapter_config.json"), "utf8"));
    expect(config.r).toBe(1);
    expect(readdirSync(scratch).filter((name) => /^replaced\./.test(name))).toEqual([]);
  });

  test("a loss that is no number leaves an earlier run as it was", async () => {
    cpSync(at("first"), at("kept"), { recursive: true });
    const before = tree(at("kept"));
    const ran = await run(finetune(at("kept"), "--overwrite", "--lr", "1e30", "--clip", "0"));
    expect(ran.status).toBe(1);
    expect(ran.stderr).toMatch(/train, step \d+: expected a finite loss and finite gradients, got loss NaN/);
    expect(tree(at("kept"))).toEqual(before);
    const fresh = await run(finetune(at("never"), "--lr", "1e30", "--clip", "0"));
    expect(fresh.status).toBe(1);
    expect(existsSync(at("never"))).toBe(false);
  });

  test("takes its settings from YAML or JSON, and flags win over them", async () => {
    writeFileSync(
      at("run.yaml"),
      `model: ${at("model")}\ndata: ${at("data", "prompts.jsonl")}\nout: ${at("config")}\nsteps: 2\nbatch: 2\nlength: 64\nrank: 3\ntargets: [q_proj, v_proj]\nevalShare: 0\nthreads: 1\n`,
    );
    const yaml = await run(["finetune", "--config", at("run.yaml"), "--rank", "4"]);
    expect(yaml.stderr).toContain("LoRA of rank 4 on 4 layers");
    expect(yaml.status).toBe(0);
    writeFileSync(
      at("run.json"),
      JSON.stringify({ model: at("model"), data: at("data", "text.jsonl"), json: true }),
    );
    const json = await run(["evaluate", "--config", at("run.json")]);
    expect(JSON.parse(json.stdout)).toMatchObject({ type: "evaluation", data: at("data", "text.jsonl") });
  });

  test.each([
    ["running text", "book.txt", []],
    ["targets by name", "text.jsonl", ["--targets", "q_proj,o_proj"]],
    ["targets by expression", "text.jsonl", ["--targets", "model\\.layers\\.1\\..*_proj"]],
    ["rsLoRA, dropout and accumulation", "text.jsonl", ["--rslora", "--dropout", "0.1", "--accumulate", "2"]],
    ["layers computed again, loss by rows", "text.jsonl", ["--checkpoint-layers", "--loss-rows", "16"]],
    ["early stop", "text.jsonl", ["--early-stop", "1", "--eval-every", "1"]],
    ["no held-out texts, a constant rate", "prompts.jsonl", ["--eval-share", "0", "--schedule", "constant"]],
  ])("runs with %s", async (name, data, more) => {
    const out = at(name.replace(/\W/g, "-"));
    const ran = await run([
      "finetune",
      at("model"),
      at("data", data),
      "--out",
      out,
      ...FAST,
      "--steps",
      "2",
      ...more,
    ]);
    expect(ran.stderr).not.toContain("expected");
    expect(ran.status).toBe(0);
    expect(ran.stdout).toContain("parameters");
  });

  test("learns a conversation through the model's chat template", async () => {
    cpSync(at("model"), at("chat-model"), { recursive: true });
    writeFileSync(
      at("chat-model", "chat_template.jinja"),
      "{% for m in messages %}{{ m.role }}: {{ m.content }}\n{% endfor %}{% if add_generation_prompt %}assistant: {% endif %}",
    );
    const ran = await run([
      "finetune",
      at("chat-model"),
      at("data", "chat.jsonl"),
      "--out",
      at("chat"),
      ...FAST,
      "--length",
      "64",
      "--steps",
      "2",
    ]);
    expect(ran.status).toBe(0);
    const answer = [
      "generate",
      at("chat-model"),
      "whale?",
      "--chat",
      "--system",
      "Be brief.",
      "--max-tokens",
      "3",
      "--json",
    ];
    const { records, status } = await run([...answer, "--adapter", at("chat", "adapter"), "--threads", "1"]);
    expect(status).toBe(0);
    expect(records.at(-1)!["promptTokens"]).toBeGreaterThan(10);
  });
});

describe("evaluate", () => {
  test("the adapter lowers the perplexity on what it has learnt", async () => {
    const score = async (...more: string[]): Promise<number> => {
      const { records } = await run([
        "evaluate",
        at("model"),
        at("data", "text.jsonl"),
        "--json",
        ...FAST,
        ...more,
      ]);
      return records.at(-1)!["perplexity"] as number;
    };
    const base = await score();
    expect(base).toBeGreaterThan(1000); // a random model of 4,096 tokens
    expect(await score("--adapter", at("first", "adapter"))).toBeLessThan(base);
    expect(await score("--device", "reference")).toBeCloseTo(base, 1);
  });

  test("tells people the same", async () => {
    const { stdout, stderr } = await run([
      "evaluate",
      at("model"),
      at("data", "prompts.jsonl"),
      ...FAST,
      "--length",
      "64",
    ]);
    expect(stdout).toMatch(
      /^perplexity {2}\d+\.\d{3}\nloss {8}\d\.\d{4} nats a token\ntokens {6}\d+\ntexts {7}12\n$/,
    );
    expect(stderr).toMatch(/tokens in \d+\.\d s\n$/);
  });
});

test("on a terminal progress is one line that is redrawn, no wider than 80 columns", async () => {
  const argv = ["evaluate", at("model"), at("data", "text.jsonl"), ...FAST];
  const { stderr } = await run(argv, { interactive: true });
  const drawn = stderr.split("\r\u001b[2K");
  expect(drawn.length).toBeGreaterThan(4);
  expect(drawn.at(-2)).toMatch(/^█{24} (\d+)\/\1 {2}perplexity \d/);
  expect(drawn.at(-1)).toMatch(/tokens in \d+\.\d s\n$/);
  for (const line of drawn) expect(line.length).toBeLessThan(81);
  expect((await run(argv)).stderr).not.toContain("\u001b");
});

describe("generate", () => {
  const generate = (...more: string[]): string[] => [
    "generate",
    at("model"),
    "the whale",
    "--threads",
    "1",
    "--max-tokens",
    "12",
    ...more,
  ];

  test("writes the same text for the same seed, and its pieces are its whole", async () => {
    const [first, again, other] = [
      await run(generate()),
      await run(generate()),
      await run(generate("--seed", "9")),
    ];
    expect(first.status).toBe(0);
    expect(again.stdout).toBe(first.stdout);
    expect(other.stdout).not.toBe(first.stdout);
    const { records } = await run(generate("--json"));
    const end = records.at(-1)!;
    expect(end).toMatchObject({ type: "end", tokens: 12, reason: "length" });
    expect(`${end["text"]}\n`).toBe(first.stdout);
    const pieces = records.filter((r) => r["type"] === "token").map((r) => r["text"]);
    expect((end["text"] as string).startsWith(pieces.join(""))).toBe(true);
  });

  test("reads the prompt from standard input, and ends before a stop text", async () => {
    const piped = await run(["generate", at("model"), "-", "--threads", "1", "--max-tokens", "12"], {
      stdin: "the whale",
    });
    const whole = (await run(generate())).stdout;
    expect(piped.stdout).toBe(whole);
    const stop = whole.trim().slice(8, 12);
    const { records } = await run(generate("--json", "--stop", stop));
    expect(records.at(-1)).toMatchObject({ reason: "stop", text: whole.slice(0, whole.indexOf(stop)) });
  });

  test("temperature 0 and --greedy take the likeliest token, and an adapter changes it", async () => {
    const greedy = await run(generate("--greedy"));
    expect((await run(generate("--temperature", "0", "--seed", "3"))).stdout).toBe(greedy.stdout);
    expect((await run(generate("--greedy", "--adapter", at("first", "adapter")))).stdout).not.toBe(
      greedy.stdout,
    );
  });
});

describe("merge", () => {
  test("the merged model computes what model and adapter do, with the tokenizer beside it", async () => {
    const merged = await run([
      "merge",
      at("model"),
      at("first", "adapter"),
      "--out",
      at("merged"),
      "--threads",
      "1",
      "--json",
    ]);
    expect(merged.records.at(-1)).toMatchObject({ type: "merge", layers: 14, dtype: "f32" });
    expect(merged.records.at(-1)!["logitDifference"]).toBeLessThan(1e-5);
    expect(readdirSync(at("merged")).sort()).toEqual([
      "config.json",
      "manifest.json",
      "model.safetensors",
      "tokenizer.json",
      "tokenizer_config.json",
    ]);
    const score = async (model: string, ...more: string[]): Promise<number> => {
      const { records } = await run([
        "evaluate",
        model,
        at("data", "text.jsonl"),
        "--json",
        ...FAST,
        ...more,
      ]);
      return records.at(-1)!["perplexity"] as number;
    };
    expect(await score(at("merged"))).toBeCloseTo(
      await score(at("model"), "--adapter", at("first", "adapter")),
      1,
    );
  });

  test("writes half precision when asked to, over an earlier model only with --overwrite", async () => {
    const half = [
      "merge",
      at("model"),
      at("first", "adapter"),
      "--out",
      at("half"),
      "--threads",
      "1",
      "--dtype",
      "f16",
    ];
    expect((await run(half)).status).toBe(0);
    const { records } = await run(["info", at("half"), "--json"]);
    expect(Object.keys(records[0]!["dtypes"] as object)).toEqual(["F16"]);
    const again = await run(half);
    expect(again.status).toBe(1);
    expect(again.stderr).toContain("choose another, or replace it with --overwrite");
    expect((await run([...half, "--overwrite"])).status).toBe(0);
  });
});

describe("info", () => {
  test("tells what is in a model, an adapter and a file", async () => {
    const model = await run(["info", at("model")]);
    expect(model.stdout).toContain("architecture        LlamaForCausalLM");
    expect(model.stdout).toMatch(/parameters {10}6\d,\d{3}\n|parameters {10}7\d,\d{3}\n/);
    expect(model.stdout).toContain("and 8 more (--tensors lists all)");
    expect(model.stdout).toContain("task                text-generation");
    const goldens = fileURLToPath(new URL("../../models/test/goldens", import.meta.url));
    const classes = await run(["info", join(goldens, "bert-sequence")]);
    expect(classes.stdout).toContain("task                text-classification");
    expect(classes.stdout).toContain("labels              ham, spam, other");
    const image = (await run(["info", join(goldens, "vit"), "--json"])).records[0]!;
    expect(image).toMatchObject({ kind: "model", supported: true, task: "image-feature-extraction" });
    const adapter = (await run(["info", at("first", "adapter"), "--json"])).records[0]!;
    expect(adapter).toMatchObject({ kind: "adapter", supported: true, config: { r: 2 } });
    expect(adapter["tensors"]).toHaveLength(28);
    const file = await run(["info", at("model", "model.safetensors"), "--tensors"]);
    expect(file.stdout).toMatch(/^kind {13}safetensors$/m);
    expect(file.stdout).toMatch(/model\.norm\.weight +F32 {3}\[16\]\n$/);
  });
});

describe("help", () => {
  test("of every command names each option with its default and shows two examples or more", async () => {
    const { stdout } = await run(["--help"]);
    const names = [...stdout.matchAll(/^ {2}(\w+) {2,}\w/gm)].map((m) => m[1]!);
    expect(names).toEqual([
      "pull",
      "estimate",
      "finetune",
      "evaluate",
      "perplexity",
      "generate",
      "chat",
      "embed",
      "serve",
      "merge",
      "convert",
      "info",
      "push",
    ]);
    for (const name of names) {
      const help = (await run([name, "--help"])).stdout;
      expect(help).toMatch(/^Usage: lowrank/m);
      expect(help.split("\nExamples\n")[1]!.match(/^ {2}lowrank /gm)!.length).toBeGreaterThanOrEqual(2);
      const options = help
        .slice(0, help.indexOf("\nExamples"))
        .split(/\n(?= {2}--)/)
        .slice(1);
      expect(options.length).toBeGreaterThan(2);
      for (const option of options) {
        if (/^ {2}--[\w-]+ {2,}/.test(option) || option.includes("Needed.")) continue; // a switch, off by itself
        expect(option).toContain("Default:");
      }
      for (const line of help.split("\n").filter((l) => !l.startsWith("  lowrank")))
        expect(line.length).toBeLessThanOrEqual(100);
    }
    expect((await run([])).stdout).toBe(stdout);
    expect((await run(["--version"])).stdout).toMatch(/^\d+\.\d+\.\d+\n$/);
  });
});
