import { cpSync, mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { makeData, makeModel, run, TINY } from "./harness.js";

const scratch = mkdtempSync(join(tmpdir(), "cli-text-"));
afterAll(() => rmSync(scratch, { recursive: true }));
const at = (...parts: string[]): string => join(scratch, ...parts);
const ONE = ["--threads", "1"];

beforeAll(async () => {
  await makeModel(at("model"), { ...TINY, max_position_embeddings: 160, initializer_range: 0.3 });
  makeData(at("data"));
  cpSync(at("model"), at("chat-model"), { recursive: true });
  writeFileSync(
    at("chat-model", "chat_template.jinja"),
    "{% for m in messages %}{{ m.role }}: {{ m.content }}\n{% endfor %}{% if add_generation_prompt %}assistant: {% endif %}",
  );
});

describe("generate", () => {
  const argv = ["generate", at("model"), "the whale", ...ONE, "--max-tokens", "8"];

  test("tells log p and the likeliest tokens when asked, and how fast it was", async () => {
    const { records } = await run([...argv, "--json", "--greedy", "--logprobs", "3"]);
    const tokens = records.filter((r) => r["type"] === "token");
    expect(tokens).toHaveLength(8);
    for (const token of tokens) {
      const top = token["top"] as { id: number; logprob: number }[];
      expect(top).toHaveLength(3);
      expect(top[0]).toEqual({ id: token["id"], logprob: token["logprob"] }); // greedy
      expect(top[1]!.logprob).toBeLessThanOrEqual(top[0]!.logprob);
    }
    const end = records.at(-1)!;
    expect(end["tokensPerSecond"]).toBeGreaterThan(0);
    expect(end["promptPerSecond"]).toBeGreaterThan(0);
  });

  test("several stop texts come from a settings file", async () => {
    const whole = (await run([...argv, "--json", "--greedy"])).records.at(-1)!["text"] as string;
    const stops = ["never so", whole.slice(6, 9)];
    writeFileSync(at("stops.json"), JSON.stringify({ stop: stops, greedy: true }));
    const { records } = await run([...argv, "--json", "--config", at("stops.json")]);
    expect(records.at(-1)).toMatchObject({ reason: "stop", text: whole.slice(0, whole.indexOf(stops[1]!)) });
  });

  test("keys and values in half precision give the same text here", async () => {
    const [wide, half] = [
      await run([...argv, "--greedy"]),
      await run([...argv, "--greedy", "--cache-type", "f16"]),
    ];
    expect(half.status).toBe(0);
    expect(half.stdout).toBe(wide.stdout);
  });
});

describe("chat", () => {
  const argv = ["chat", at("chat-model"), ...ONE, "--max-tokens", "6", "--greedy"];

  test("answers each line, reads only what is new, and begins anew when told to", async () => {
    const talk = "Who is the captain?\n\nAnd the whale?\n/reset\nWho is the captain?\n";
    const { status, records } = await run([...argv, "--json"], { stdin: talk });
    expect(status).toBe(0);
    const answers = records.filter((r) => r["type"] === "message");
    expect(answers).toHaveLength(3);
    const [first, second, again] = answers as [
      Record<string, number>,
      Record<string, number>,
      Record<string, number>,
    ];
    expect(first["reusedTokens"]).toBe(0);
    expect(second["reusedTokens"]).toBeGreaterThanOrEqual(first["promptTokens"]!);
    expect(again["content"]).toBe(first["content"]);
    expect(again["promptTokens"]).toBe(first["promptTokens"]);
    const pieces = records.filter((r) => r["type"] === "text").map((r) => r["text"]);
    expect(pieces.join("")).toBe(answers.map((a) => a["content"]).join(""));
    const plain = await run(argv, { stdin: talk });
    expect(plain.stdout).toBe(answers.map((a) => `${a["content"]}\n`).join(""));
    expect(plain.stderr).toBe("a new conversation\n");
  });

  test("a system message opens the conversation, and another may take its place", async () => {
    const { records } = await run([...argv, "--json", "--system", "Be brief."], {
      stdin: "whale?\n/system Be long, and tell all that you know.\nwhale?\n/exit\nwhale?\n",
    });
    const answers = records.filter((r) => r["type"] === "message");
    expect(answers).toHaveLength(2);
    expect(answers[1]!["promptTokens"]).toBeGreaterThan(answers[0]!["promptTokens"] as number);
  });

  test("forgets the oldest turns when the model has no more positions, and refuses a message that is longer", async () => {
    const line = "the whale and the sea and the ship and the crew and the captain and the oil\n";
    const { status, records } = await run([...argv, "--json"], { stdin: line.repeat(8) });
    expect(status).toBe(0);
    expect(records.filter((r) => r["type"] === "message")).toHaveLength(8);
    expect(records.find((r) => r["type"] === "warning")!["message"]).toMatch(
      /the oldest 1 turns are forgotten/,
    );
    const long = await run(argv, { stdin: `${line.trim().repeat(20)}\n` });
    expect(long.status).toBe(1);
    expect(long.stderr).toMatch(
      /^chat: expected a message shorter than the model's 160 positions, got \d+ tokens\n$/,
    );
  });

  test("stopped by its signal it ends at once, with the status of an interruption", async () => {
    const controller = new AbortController();
    const { status, stderr } = await run([...argv, "--json"], {
      stdin: "one\ntwo\nthree\n",
      signal: controller.signal,
      onOutput: (text) => text.includes('"type":"text"') && controller.abort(),
    });
    expect(status).toBe(130);
    expect(stderr).toBe("stopped\n");
  });

  test("a model without a chat template is refused before anything is asked", async () => {
    const { status, stderr } = await run(["chat", at("model"), ...ONE], { stdin: "hello\n" });
    expect(status).toBe(1);
    expect(stderr).toMatch(
      /expected a chat template in tokenizer_config.json or chat_template.jinja, got none/,
    );
  });
});

describe("perplexity", () => {
  const argv = ["perplexity", at("model"), at("data", "book.txt"), ...ONE, "--length", "64"];

  test("counts each token once, whatever the stride and the batch", async () => {
    const score = async (...more: string[]) => (await run([...argv, "--json", ...more])).records.at(-1)!;
    const [half, wide, batched] = [await score(), await score("--stride", "63"), await score("--batch", "3")];
    expect(half).toMatchObject({ type: "perplexity", text: at("data", "book.txt") });
    expect(wide["tokens"]).toBe(half["tokens"]);
    expect(wide["windows"]).toBeLessThan(half["windows"] as number);
    expect(wide["perplexity"]).not.toBe(half["perplexity"]);
    expect(batched["perplexity"]).toBeCloseTo(half["perplexity"] as number, 0);
    expect(half["perplexity"]).toBeCloseTo(Math.exp(half["loss"] as number), 6);
  });

  test("tells people the same, and refuses a text without tokens to score", async () => {
    const { stdout } = await run(argv);
    expect(stdout).toMatch(/^perplexity {2}\d+\.\d{3}\nloss {8}\d+\.\d{4} nats a token\ntokens {6}[\d,]+\n$/);
    writeFileSync(at("empty.txt"), "");
    const empty = await run(["perplexity", at("model"), at("empty.txt"), ...ONE]);
    expect(empty.status).toBe(1);
    expect(empty.stderr).toMatch(/^perplexity: expected tokens to score, got none\n$/);
    const none = await run(["perplexity", at("model"), at("none.txt"), ...ONE]);
    expect(none.stderr).toMatch(/none\.txt: expected to open it, got ENOENT/);
  });
});

describe("estimate", () => {
  test("tells memory and time of writing and of training, from config.json alone", async () => {
    const only = at("only-config");
    mkdirSync(only);
    cpSync(at("model", "config.json"), join(only, "config.json"));
    const writing = ["estimate", only, "--prompt", "40", "--max-tokens", "20", ...ONE];
    const write = (await run([...writing, "--json"])).records.at(-1)!;
    expect(write).toMatchObject({ type: "estimate", task: "generate" });
    expect(write["peakBytes"]).toBeGreaterThan(write["tensorBytes"] as number);
    expect(write["seconds"]).toBeGreaterThan(write["firstSeconds"] as number);
    const training = ["estimate", only, "--task", "finetune", "--batch", "2", "--length", "64", ...ONE];
    const plain = (await run([...training, "--json"])).records.at(-1)!;
    const again = (await run([...training, "--json", "--checkpoint-layers"])).records.at(-1)!;
    expect(again["tensorBytes"]).toBeLessThan(plain["tensorBytes"] as number);
    expect(plain["trainable"]).toBeLessThan(plain["parameters"] as number);
    expect((await run(writing)).stdout).toMatch(
      /^model +[\d,]+ parameters, .*\nmemory +.* at the highest, of which tensors .*\nfirst token +.* s\ntokens +[\d.]+ a second\nin all +.* s, without loading\n$/,
    );
    expect((await run(training)).stdout).toMatch(/^step +.* s, \d+ tokens a second$/m);
  });
});
