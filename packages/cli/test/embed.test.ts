import { cpSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { noTestModels, testModel } from "../../../scripts/test-models.js";
import { run } from "./harness.js";

const goldens = fileURLToPath(new URL("../../models/test/goldens/", import.meta.url));
const scratch = mkdtempSync(join(tmpdir(), "cli-embed-"));
afterAll(() => rmSync(scratch, { recursive: true }));
const at = (...parts: string[]): string => join(scratch, ...parts);
const ONE = ["--threads", "1"];

/** A small random encoder with a vocabulary of whole words. */
beforeAll(() => {
  cpSync(join(goldens, "bert"), at("model"), { recursive: true });
  const words = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "the", "whale", "sea", "ship", "is", "large"];
  writeFileSync(
    at("model", "tokenizer.json"),
    JSON.stringify({
      added_tokens: words.slice(0, 4).map((content, id) => ({ id, content, special: true })),
      normalizer: { type: "BertNormalizer", clean_text: true, handle_chinese_chars: true, lowercase: true },
      pre_tokenizer: { type: "BertPreTokenizer" },
      post_processor: {
        type: "TemplateProcessing",
        single: [
          { SpecialToken: { id: "[CLS]", type_id: 0 } },
          { Sequence: { id: "A", type_id: 0 } },
          { SpecialToken: { id: "[SEP]", type_id: 0 } },
        ],
        pair: [],
        special_tokens: {
          "[CLS]": { id: "[CLS]", ids: [2], tokens: ["[CLS]"] },
          "[SEP]": { id: "[SEP]", ids: [3], tokens: ["[SEP]"] },
        },
      },
      decoder: { type: "WordPiece", prefix: "##", cleanup: true },
      model: {
        type: "WordPiece",
        vocab: Object.fromEntries(words.map((word, id) => [word, id])),
        unk_token: "[UNK]",
        continuing_subword_prefix: "##",
        max_input_chars_per_word: 100,
      },
    }),
  );
  writeFileSync(at("texts.txt"), "the whale is large\n\nthe sea\r\nThe Ship\n");
  writeFileSync(at("texts.jsonl"), '{"text": "the whale is large"}\n{"text": "the sea", "id": 3}\n');
});

const vectorsOf = (stdout: string): { text: string; vector: number[] }[] =>
  stdout
    .trim()
    .split("\n")
    .map((line) => JSON.parse(line));
const dot = (a: ArrayLike<number>, b: ArrayLike<number>): number =>
  Array.from(a).reduce((sum, x, i) => sum + x * b[i]!, 0);

describe("embed", () => {
  test("gives each text a vector of length 1, the same in any company", async () => {
    const all = await run(["embed", at("model"), "--input", at("texts.txt"), ...ONE]);
    expect(all.status).toBe(0);
    const vectors = vectorsOf(all.stdout);
    expect(vectors.map((v) => v.text)).toEqual(["the whale is large", "the sea", "The Ship"]);
    for (const { vector } of vectors) expect(dot(vector, vector)).toBeCloseTo(1, 5);
    const alone = vectorsOf((await run(["embed", at("model"), "the sea", ...ONE])).stdout);
    expect(dot(alone[0]!.vector, vectors[1]!.vector)).toBeCloseTo(1, 5);
    expect(dot(alone[0]!.vector, vectors[0]!.vector)).toBeLessThan(0.9999);
    const piped = await run(["embed", at("model"), "-", ...ONE], { stdin: "the sea\nthe ship\n" });
    expect(vectorsOf(piped.stdout)[0]).toEqual(alone[0]);
  });

  test.each([
    ["an encoder alone", "BertModel"],
    ["one with the head of its training, which is left out", "BertForMaskedLM"],
  ])("the server gives the same vectors: %s", async (_, architecture) => {
    const config = JSON.parse(readFileSync(at("model", "config.json"), "utf8")) as object;
    writeFileSync(at("model", "config.json"), JSON.stringify({ ...config, architectures: [architecture] }));
    const [want] = vectorsOf((await run(["embed", at("model"), "the sea", ...ONE])).stdout);
    const controller = new AbortController();
    let got: Promise<number[]> | undefined;
    const ask = async (url: string): Promise<number[]> => {
      const answer = await fetch(`${url}/v1/embeddings`, {
        method: "POST",
        headers: { "content-type": "application/json" },
        body: JSON.stringify({ model: "minilm", input: "the sea" }),
      });
      return ((await answer.json()) as { data: { embedding: number[] }[] }).data[0]!.embedding;
    };
    const argv = ["serve", at("model"), "--name", "minilm", "--port", "0", "--open", "--json", ...ONE];
    const { status } = await run(argv, {
      signal: controller.signal,
      onOutput: (text) => {
        const line = text.split("\n").find((part) => part.includes('"listening"'));
        if (line !== undefined) got = ask(JSON.parse(line).url).finally(() => controller.abort());
      },
    });
    expect(await got).toEqual(want!.vector);
    expect(status).toBe(0);
  });

  test("writes what NumPy reads, and JSON lines, as files", async () => {
    const argv = ["embed", at("model"), "--input", at("texts.jsonl"), ...ONE, "--json"];
    const { records } = await run([...argv, "--out", at("vectors.npy")]);
    const width = records[0]!["width"] as number;
    expect(records[0]).toMatchObject({ type: "embed", texts: 2, out: at("vectors.npy") });
    const bytes = readFileSync(at("vectors.npy"));
    expect(bytes.subarray(0, 8).toString("latin1")).toBe("\u0093NUMPY\u0001\u0000");
    const start = 10 + bytes.readUInt16LE(8);
    expect(start % 64).toBe(0);
    expect(bytes.subarray(10, start).toString()).toMatch(
      new RegExp(`^\\{'descr': '<f4', 'fortran_order': False, 'shape': \\(2, ${width}\\), \\} *\\n$`),
    );
    expect(bytes.length).toBe(start + 4 * 2 * width);
    await run([...argv, "--out", at("vectors.jsonl")]);
    const lines = vectorsOf(readFileSync(at("vectors.jsonl"), "utf8"));
    for (const [r, { vector }] of lines.entries())
      for (const [c, x] of vector.entries()) expect(bytes.readFloatLE(start + 4 * (r * width + c))).toBe(x);
  });

  test.each([
    [[], /^TEXT: expected a text, - for standard input, or --input, got nothing\n$/, 2],
    [["x", "--input", "y"], /got both\n$/, 2],
    [["--input", "bad.jsonl"], /bad\.jsonl, line 2: expected a JSON object with a "text", got another\n$/, 1],
    [["--input", "empty.txt"], /empty\.txt: expected texts, one a line, got none\n$/, 1],
  ])("refuses %o", async (more, message, status) => {
    writeFileSync(at("bad.jsonl"), '{"text": "a"}\n{"txt": "b"}\n');
    writeFileSync(at("empty.txt"), "\n");
    const argv = more.map((word) => (/\.(jsonl|txt)$/.test(word) ? at(word) : word));
    const ran = await run(["embed", at("model"), ...argv, ...ONE]);
    expect(ran.stderr).toMatch(message);
    expect(ran.status).toBe(status);
  });

  test.skipIf(noTestModels)("MiniLM finds the sentence of like meaning", async () => {
    const texts = [
      "A whale swims in the ocean.",
      "The stock market fell today.",
      "Big animals live in the sea.",
    ];
    const { stdout } = await run(["embed", testModel("all-MiniLM-L6-v2"), "-", ...ONE], {
      stdin: texts.join("\n"),
    });
    const [whale, market, animals] = vectorsOf(stdout).map((v) => v.vector);
    expect(dot(whale!, animals!)).toBeGreaterThan(0.45);
    expect(dot(whale!, market!)).toBeLessThan(0.2);
  });
});
