import { readFileSync } from "node:fs";
import { fileURLToPath } from "node:url";
import { beforeAll, describe, expect, test } from "vitest";
import { compileChatTemplate } from "./chat-template.js";
import { checkTokenizerRegex } from "./tokenizer-regex.js";
import { loadTokenizer, type Tokenizer } from "./tokenizer.js";
import { randomNumbers } from "../test/safetensors-mutator.js";

const quickstart = fileURLToPath(new URL("../../../examples/quickstart/", import.meta.url));
const ids = JSON.parse(
  readFileSync(new URL("../test/goldens/tokenizer-ids.json", import.meta.url), "utf8"),
) as { text: string; ids: number[] }[];
const bytes = (value: unknown) =>
  new TextEncoder().encode(typeof value === "string" ? value : JSON.stringify(value));

let tokenizer: Tokenizer;
beforeAll(async () => {
  tokenizer = await loadTokenizer(`${quickstart}model`);
});

test("gives the ids that the Python library gives", () => {
  expect(ids.length).toBeGreaterThan(20);
  for (const { text, ids: expected } of ids) expect(tokenizer.encode(text)).toEqual(expected);
});

test("gives back the text of what it encoded", () => {
  for (const { text } of ids) {
    if (!text.includes("<|")) expect(tokenizer.decode(tokenizer.encode(text))).toBe(text);
    expect(tokenizer.decode(tokenizer.encode(text), { skipSpecialTokens: false })).toBe(`<|bos|>${text}`);
  }
});

test("knows its special tokens", () => {
  expect(tokenizer.vocabSize).toBe(4096);
  expect([tokenizer.bosId, tokenizer.eosId, tokenizer.padId, tokenizer.unkId]).toEqual([0, 1, 2, undefined]);
  expect([...tokenizer.specialIds]).toEqual([0, 1, 2]);
  expect(tokenizer.encode("a")[0]).toBe(0);
  expect(tokenizer.encode("a", { addSpecialTokens: false })).toEqual([tokenizer.tokenToId("a")]);
  expect(tokenizer.idToToken(1)).toBe("<|eos|>");
  expect(tokenizer.decode([])).toBe("");
  expect(tokenizer.decode([0, 1])).toBe("");
});

test("refuses ids outside its vocabulary", () => {
  expect(() => tokenizer.decode([4096])).toThrow(/token ids from 0 to 4095, got 4096/);
  expect(() => tokenizer.decode([-1])).toThrow(/got -1/);
  expect(() => tokenizer.decode([0.5])).toThrow(/got 0.5/);
});

test("a chapter of 45,000 characters takes less than half a second", () => {
  const chapters = readFileSync(`${quickstart}data/moby-dick-train.jsonl`, "utf8").trim().split("\n");
  const longest = chapters
    .map((line) => (JSON.parse(line) as { text: string }).text)
    .sort((a, b) => b.length - a.length)[0] as string;
  const started = performance.now();
  expect(tokenizer.encode(longest).length).toBeGreaterThan(10_000);
  expect(performance.now() - started).toBeLessThan(10_000);
});

describe("a malformed folder", () => {
  const valid = () => JSON.parse(readFileSync(`${quickstart}model/tokenizer.json`, "utf8"));
  const load = (json: unknown, more: Record<string, Uint8Array> = {}) =>
    loadTokenizer({ "tokenizer.json": bytes(json), ...more });
  type Json = ReturnType<typeof valid>;
  const cases: [string, (json: Json) => unknown, RegExp][] = [
    ["no model", (j) => delete j.model, /model to be an object, got nothing/],
    ["an unknown model type", (j) => (j.model.type = "Exec"), /model.type to be one of BPE.+got "Exec"/],
    ["no vocabulary", (j) => delete j.model.vocab, /model.vocab to be an object or a list, got nothing/],
    ["a negative id", (j) => (j.model.vocab.a = -1), /token "a" to have an id from 0 to 10000000, got -1/],
    ["a giant id", (j) => (j.model.vocab.a = 4_000_000_000), /token "a" to have an id/],
    ["an id twice", (j) => (j.model.vocab.a = 7), /every id once, 7 is/],
    ["an id that is text", (j) => (j.model.vocab.a = "7"), /got a string/],
    ["no merges", (j) => delete j.model.merges, /model.merges to be a list, got nothing/],
    ["a merge of three", (j) => (j.model.merges[0] = ["a", "b", "c"]), /merge 0 to be a pair of tokens/],
    [
      "a merge without a space",
      (j) => (j.model.merges[3] = "ab"),
      /merge 3 to be a pair of tokens, got "ab"/,
    ],
    [
      "a merge of unknown tokens",
      (j) => (j.model.merges[1] = ["zzzz", "a"]),
      /tokens of the vocabulary, got "zzzz"/,
    ],
    [
      "an added token without content",
      (j) => delete j.added_tokens[0].content,
      /every added token to have content/,
    ],
    ["an empty added token", (j) => (j.added_tokens[0].content = ""), /content, got an empty one/],
    ["added tokens that are no list", (j) => (j.added_tokens = {}), /added_tokens to be a list/],
    [
      "a pre-tokenizer that is a number",
      (j) => (j.pre_tokenizer = 1),
      /pre_tokenizer to be an object or null/,
    ],
    [
      "an unknown pre-tokenizer",
      (j) => (j.pre_tokenizer.type = "Shell"),
      /supported tokenizer, got Unknown PreTokenizer type: Shell/,
    ],
    [
      "a pattern of exponential time",
      (j) =>
        (j.pre_tokenizer = {
          type: "Sequence",
          pretokenizers: [{ type: "Split", pattern: { Regex: "(a+)+$" }, behavior: "Isolated" }],
        }),
      /open-ended repeat/,
    ],
    [
      "a pattern that does not compile",
      (j) => (j.pre_tokenizer = { type: "Split", pattern: { Regex: "(?<" }, behavior: "Isolated" }),
      /supported tokenizer/,
    ],
  ];
  test.each(cases)("with %s is refused", async (_name, change, message) => {
    const json = valid();
    change(json);
    await expect(load(json)).rejects.toThrow(message);
    await expect(load(json)).rejects.toMatchObject({ code: "LOWRANK_FORMAT" });
  });

  test("without files, with JSON that is none, or with a key twice is refused", async () => {
    await expect(loadTokenizer({})).rejects.toThrow(/expected tokenizer.json, got no such file/);
    await expect(load("{")).rejects.toThrow(
      /tokenizer.json: expected a key in quotes, got the end of the data \(tokenizer, byte 1\)/,
    );
    await expect(load("[]")).rejects.toThrow(/a JSON object/);
    await expect(load('{"model":1,"model":2}')).rejects.toThrow(/every key once/);
    await expect(load(valid(), { "tokenizer_config.json": bytes("[1]") })).rejects.toThrow(
      /tokenizer_config.json: expected a JSON object/,
    );
    await expect(loadTokenizer(`${quickstart}nowhere`)).rejects.toThrow(
      /expected a folder, got nothing of that name/,
    );
  });

  test("is never anything but refused or usable, whatever member is taken out or exchanged", async () => {
    const random = randomNumbers(5);
    const small = () => {
      const json = valid();
      const merges = json.model.merges.slice(0, 20) as [string, string][];
      const keep = new Set(merges.map((pair) => pair.join("")));
      json.model.vocab = Object.fromEntries(
        Object.entries<number>(json.model.vocab).filter(([token, id]) => id < 259 || keep.has(token)),
      );
      json.model.merges = merges;
      return json;
    };
    const text = JSON.stringify(small());
    const values = [
      null,
      0,
      -1,
      "x",
      "",
      [],
      {},
      true,
      1e300,
      { type: "ByteLevel" },
      { Regex: "(x|y)*" },
      [[]],
    ];
    let accepted = 0;
    for (let i = 0; i < 1500; i++) {
      const json = JSON.parse(text);
      for (let n = 1 + Math.floor(random() * 2); n > 0; n--) {
        let at = json;
        // Walks down to some member, the vocabulary's being so many that few others would be met.
        for (;;) {
          const keys = Object.keys(at);
          const key = keys[Math.floor(random() * keys.length)] as string;
          if (key === undefined) break;
          if (typeof at[key] === "object" && at[key] !== null && random() < 0.7) at = at[key];
          else {
            if (random() < 0.3) delete at[key];
            else at[key] = values[Math.floor(random() * values.length)];
            break;
          }
        }
      }
      try {
        const loaded = await load(json);
        accepted++;
        loaded.decode(loaded.encode("Hi <|eos|> there"));
      } catch (error) {
        expect(error).toMatchObject({ code: "LOWRANK_FORMAT" });
      }
    }
    expect(accepted).toBeGreaterThan(50);
    expect(accepted).toBeLessThan(1450);
  });
});

describe("patterns of tokenizer files", () => {
  const published = [
    "'s|'t|'re|'ve|'m|'ll|'d| ?\\p{L}+| ?\\p{N}+| ?[^\\s\\p{L}\\p{N}]+|\\s+(?!\\S)|\\s+", // GPT-2
    "(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\\r\\n\\p{L}\\p{N}]?\\p{L}+|\\p{N}{1,3}| ?[^\\s\\p{L}\\p{N}]+[\\r\\n]*|\\s*[\\r\\n]+|\\s+(?!\\S)|\\s+", // Llama 3
    "(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\\r\\n\\p{L}\\p{N}]?\\p{L}+|\\p{N}| ?[^\\s\\p{L}\\p{N}]+[\\r\\n]*|\\s*[\\r\\n]+|\\s+(?!\\S)|\\s+", // Qwen 2
    "[^\\r\\n\\p{L}\\p{N}]?[\\p{Lu}\\p{Lt}\\p{Lm}\\p{Lo}\\p{M}]*[\\p{Ll}\\p{Lm}\\p{Lo}\\p{M}]+(?i:'s|'t|'re|'ve|'m|'ll|'d)?|[^\\r\\n\\p{L}\\p{N}]?[\\p{Lu}\\p{Lt}\\p{Lm}\\p{Lo}\\p{M}]+[\\p{Ll}\\p{Lm}\\p{Lo}\\p{M}]*(?i:'s|'t|'re|'ve|'m|'ll|'d)?|\\p{N}{1,3}| ?[^\\s\\p{L}\\p{N}]+[\\r\\n/]*|\\s*[\\r\\n]+|\\s+(?!\\S)|\\s+", // GPT-4o
    " ?[^(\\s|[.,!?\u2026\u3002\uff0c\u3001\u0964\u06d4\u060c])]+", // BLOOM
    "\\p{N}{1,3}", // DeepSeek V3
  ];
  test.each(published)("%s passes", (pattern) => {
    expect(() => checkTokenizerRegex(pattern, "test")).not.toThrow();
  });
  /** The quick start's tokenizer with another pattern to split by. */
  const withPattern = (pattern: string) => {
    const json = JSON.parse(readFileSync(`${quickstart}model/tokenizer.json`, "utf8"));
    json.pre_tokenizer = { type: "Split", pattern: { Regex: pattern }, behavior: "Isolated" };
    return loadTokenizer({ "tokenizer.json": bytes(json) });
  };
  test.each(published)("%s takes time as the text does", async (pattern) => {
    await expect(withPattern(pattern)).resolves.toBeDefined();
  });
  // No power is in them that the rule of nested repeats could see: a run of n characters takes n² steps or more.
  test.each([
    "a+b|a",
    "a*a*a*b",
    "[a-z]*[a-m]*[n-z]*!",
    ".*.*=.*",
    "\\s*\\s*x|\\s",
    "(?:ab)+c|[ab]",
    "\\p{L}+\\p{L}+\\p{N}|\\p{L}",
    "(?<=x[sy]+)y",
    "(?=\\p{L}+!).",
    "a{17,}b|a",
  ])("%s is refused within a second, for the time that it takes", async (pattern) => {
    const before = process.cpuUsage();
    await expect(withPattern(pattern)).rejects.toMatchObject({
      code: "LOWRANK_FORMAT",
      expected: "a regular expression whose time grows as the text does",
    });
    // Of this process, whatever else the machine does.
    const { user, system } = process.cpuUsage(before);
    expect((user + system) / 1000).toBeLessThan(1000);
  });
  test.each([
    "(a+)+",
    "(a|b)*c",
    "((a+))+",
    "(?:x*y){2,}",
    "(a{1,99})+",
    "([^\\]]+)*",
    "(?=(a+))\\1*",
    "(a+){20}",
    ")(",
    "(?<n>a)\\k<n>",
  ])("%s is refused", (pattern) => {
    expect(() => checkTokenizerRegex(pattern, "test")).toThrow(/test: expected .+, got .+ in /);
  });
});

describe("chat templates", () => {
  const chatml =
    "{% for message in messages %}{{ '<|im_start|>' + message['role'] + '\\n' + message['content'] + '<|im_end|>' + '\\n' }}{% endfor %}" +
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{% endif %}";
  const messages = [
    { role: "user", content: "Hi" },
    { role: "assistant", content: "Ho" },
  ];

  test("render a conversation with and without the opening of an answer", async () => {
    const chat = await loadTokenizer(`${quickstart}model`, { chatTemplate: chatml });
    expect(chat.hasChatTemplate).toBe(true);
    const text = "<|im_start|>user\nHi<|im_end|>\n<|im_start|>assistant\nHo<|im_end|>\n";
    expect(chat.applyChatTemplate(messages)).toBe(text);
    expect(chat.applyChatTemplate(messages, { addGenerationPrompt: true })).toBe(
      `${text}<|im_start|>assistant\n`,
    );
  });

  test("see special tokens, tools and further variables", () => {
    const render = compileChatTemplate(
      "{{ bos_token }}{{ tools[0].name }}{{ date_string }}{{ strftime_now('%Y') | length }}{{ range(3) | join('') }}",
      { bos_token: "<s>" },
      "test",
    );
    expect(render([], { tools: [{ name: "f" }], variables: { date_string: "26 Jul" } })).toBe(
      "<s>f26 Jul4012",
    );
  });

  test("come from chat_template.jinja, else from tokenizer_config.json, there by name", async () => {
    const json = readFileSync(`${quickstart}model/tokenizer.json`);
    const load = (files: Record<string, Uint8Array>) =>
      loadTokenizer({ "tokenizer.json": new Uint8Array(json), ...files });
    const config = bytes({
      chat_template: [
        { name: "tool_use", template: "tool" },
        { name: "default", template: "config" },
      ],
    });
    expect((await load({ "tokenizer_config.json": config })).applyChatTemplate([])).toBe("config");
    const both = { "tokenizer_config.json": config, "chat_template.jinja": bytes("file") };
    expect((await load(both)).applyChatTemplate([])).toBe("file");
    expect(() => tokenizer.applyChatTemplate([])).toThrow(/expected a chat template.+got none.+base model/);
  });

  const render = (template: string, options = {}) =>
    compileChatTemplate(template, {}, "test")(messages, options);
  test.each<[string, string, RegExp]>([
    ["does not parse", "{% for %}", /a Jinja template, got/],
    [
      "raises an exception",
      "{{ raise_exception('roles must alternate') }}",
      /a conversation that the template takes, got roles must alternate/,
    ],
    [
      "loops for long",
      "{% for a in range(10000) %}{% for b in range(10000) %}{% endfor %}{% endfor %}",
      /an end within 200 ms/,
    ],
    ["asks for a giant range", "{{ range(1000000000) }}", /at most 100000 items/],
    [
      "builds a long text",
      "{% set ns = namespace(s='xxxxxxxxxx') %}{% for a in range(40) %}{% set ns.s = ns.s + ns.s %}{% endfor %}",
      /at most 4000000 characters/,
    ],
    [
      "builds a long list",
      "{% set ns = namespace(s=[1,2]) %}{% for a in range(40) %}{% set ns.s = ns.s + ns.s %}{% endfor %}",
      /lists of at most/,
    ],
    [
      "calls itself without end",
      "{% macro f() %}{{ f() }}{% endmacro %}{{ f() }}",
      /a conversation that the template takes/,
    ],
    [
      "reaches for the host",
      "{{ messages.constructor.constructor('return process')() }}",
      /a conversation that the template takes/,
    ],
    ["has a long run of spaces", " ".repeat(3000), /no run of 2,000 white spaces/],
    ["is very long", "x".repeat(200_001), /at most 200000 characters/],
  ])("a template that %s is refused", (_name, template, message) => {
    const started = performance.now();
    expect(() => render(template, { timeoutMs: 200 })).toThrow(message);
    expect(performance.now() - started).toBeLessThan(20_000);
  });
});
