import { readFileSync } from "node:fs";
import { fileURLToPath } from "node:url";
import { activate, attach, lora, peftFiles } from "@lowrank/adapters";
import {
  embed,
  type EncoderModel,
  loadSentenceConfig,
  loadTokenizer,
  modelFromPretrained,
  type Tokenizer,
} from "@lowrank/models";
import { evaluate, key, normal } from "@lowrank/tensor";
import { beforeAll, describe, expect, test } from "vitest";
import { noTestModels, testModel } from "../../../scripts/test-models.js";
import type { Served, ServeOptions } from "../src/index.js";
import { headers, post, rawRequest, start, startBackend, until } from "./harness.js";

beforeAll(startBackend);

const goldens = fileURLToPath(new URL("../../models/test/goldens/", import.meta.url));
const encoder = (): Promise<EncoderModel> =>
  modelFromPretrained(`${goldens}bert`, { task: "feature-extraction" });

/** Words of its own, and [CLS] and [SEP] around them. */
const WORDS = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "the", "whale", "sea", "ship", "is", "large"];
const special = (id: string): object => ({ SpecialToken: { id, type_id: 0 } });
const words = (): Promise<Tokenizer> =>
  loadTokenizer({
    "tokenizer.json": new TextEncoder().encode(
      JSON.stringify({
        added_tokens: WORDS.slice(0, 4).map((content, id) => ({ id, content, special: true })),
        normalizer: null,
        pre_tokenizer: { type: "BertPreTokenizer" },
        decoder: null,
        post_processor: {
          type: "TemplateProcessing",
          single: [special("[CLS]"), { Sequence: { id: "A", type_id: 0 } }, special("[SEP]")],
          pair: [],
          special_tokens: {
            "[CLS]": { id: "[CLS]", ids: [2], tokens: ["[CLS]"] },
            "[SEP]": { id: "[SEP]", ids: [3], tokens: ["[SEP]"] },
          },
        },
        model: {
          type: "WordPiece",
          vocab: Object.fromEntries(WORDS.map((word, id) => [word, id])),
          unk_token: "[UNK]",
          continuing_subword_prefix: "##",
          max_input_chars_per_word: 100,
        },
      }),
    ),
  });

const startEncoder = async (options: Partial<ServeOptions> = {}): Promise<Served> =>
  start({ model: await encoder(), tokenizer: await words(), ...options });

interface Answer {
  data: { object: string; index: number; embedding: number[] | string }[];
  model: string;
  usage: { prompt_tokens: number; total_tokens: number };
}
const ask = async (server: Served, body: object): Promise<Answer> => {
  const answer = await post(server, "/v1/embeddings", body);
  expect(answer.status).toBe(200);
  return (await answer.json()) as Answer;
};
const vectorsOf = ({ data }: Answer): number[][] => data.map(({ embedding }) => embedding as number[]);

function expectNear(got: readonly ArrayLike<number>[], want: readonly ArrayLike<number>[]): void {
  expect(got.length).toBe(want.length);
  for (const [i, vector] of got.entries()) {
    expect(vector.length).toBe(want[i]!.length);
    for (let j = 0; j < vector.length; j++) expect(vector[j]).toBeCloseTo(want[i]![j]!, 5);
  }
}

const TEXTS = [
  "the whale is large",
  "sea",
  "the ship",
  "the the the the the the the the the the the the the the the",
];

describe("embeddings", () => {
  test("are those of embed, in the order of the inputs, with the tokens read counted", async () => {
    const server = await startEncoder();
    try {
      const [model, tokenizer] = [await encoder(), await words()];
      const many = Array.from({ length: 19 }, (_, i) => TEXTS[i % TEXTS.length]!);
      const answer = await ask(server, { model: "tiny", input: many });
      expectNear(vectorsOf(answer), await embed(model, tokenizer, many));
      expect(answer).toMatchObject({ object: "list", model: "tiny" });
      expect(answer.data.map(({ object, index }) => [object, index])).toEqual(
        many.map((_, i) => ["embedding", i]),
      );
      const one = await ask(server, { input: TEXTS[0] });
      expectNear(vectorsOf(one), await embed(model, tokenizer, [TEXTS[0]!]));
      expect(one.usage).toEqual({ prompt_tokens: 6, total_tokens: 6 });
      // Longer than the model has positions: cut, as embed cuts it.
      expect((await ask(server, { input: TEXTS[3] })).usage.prompt_tokens).toBe(16);
    } finally {
      await server.close();
    }
  });

  test("come in base64 as the bytes of f32, and inputs may be token ids", async () => {
    const server = await startEncoder({ sentence: { pooling: "cls", normalize: false } });
    try {
      const input = ["the sea", "whale"];
      const plain = await ask(server, { input });
      const coded = await ask(server, { input, encoding_format: "base64" });
      for (const [i, { embedding }] of coded.data.entries()) {
        const bytes = Buffer.from(embedding as string, "base64");
        const numbers = Array.from({ length: bytes.length / 4 }, (_, j) => bytes.readFloatLE(4 * j));
        expect(numbers).toEqual(plain.data[i]!.embedding);
      }
      const ids = [
        [2, 4, 6, 3],
        [2, 5, 3],
      ];
      expect(vectorsOf(await ask(server, { input: ids }))).toEqual(vectorsOf(plain));
      expectNear(vectorsOf(await ask(server, { input: ids[1] })), [plain.data[1]!.embedding as number[]]);
      const [tokenizer, options] = [await words(), { pooling: "cls", normalize: false } as const];
      expectNear(vectorsOf(plain), await embed(await encoder(), tokenizer, input, options));
    } finally {
      await server.close();
    }
  });

  test("are made with the adapter that the request names", async () => {
    const model = await encoder();
    const attached = attach(model, lora, { rank: 2 }, { targets: ["query", "value"] });
    await evaluate(
      ...[...attached.parameters()].map(([path, p]) =>
        p.assign(normal(p.shape, { key: key(3).foldName(path), std: 0.5 })),
      ),
    );
    const server = await startEncoder({ adapters: { sea: await peftFiles(attached) } });
    try {
      const [one, base] = [
        await ask(server, { model: "tiny:sea", input: TEXTS }),
        await ask(server, { input: TEXTS }),
      ];
      expect(one.model).toBe("tiny:sea");
      expectNear(vectorsOf(one), await embed(model, await words(), TEXTS));
      activate(model, []);
      expectNear(vectorsOf(base), await embed(model, await words(), TEXTS));
      expect(Math.abs(vectorsOf(one)[0]![0]! - vectorsOf(base)[0]![0]!)).toBeGreaterThan(1e-3);
      expect((await post(server, "/v1/embeddings", { model: "tiny:land", input: "x" })).status).toBe(404);
    } finally {
      await server.close();
    }
  });

  test("of what cannot be read are refused, naming the member", async () => {
    const server = await startEncoder();
    const refused = async (path: string, body: object): Promise<[number, string | null, string]> => {
      const answer = await post(server, path, body);
      const { error } = (await answer.json()) as { error: { message: string; param: string | null } };
      return [answer.status, error.param, error.message];
    };
    try {
      for (const input of [undefined, "", [], ["a", ""], [[]], ["a", [1]], 5, Array(2049).fill("a")]) {
        expect((await refused("/v1/embeddings", { input })).slice(0, 2)).toEqual([
          400,
          expect.stringMatching(/^input/),
        ]);
      }
      expect((await refused("/v1/embeddings", { input: "a", encoding_format: "hex" }))[1]).toBe(
        "encoding_format",
      );
      expect((await refused("/v1/embeddings", { input: "a", dimensions: 8 }))[1]).toBe("dimensions");
      expect(await refused("/v1/embeddings", { input: [2, 99, 3] })).toEqual([
        400,
        "input",
        expect.stringMatching(/token ids from 0 to 39, got 99/),
      ]);
      expect((await refused("/v1/embeddings", { input: Array(17).fill(4) }))[2]).toMatch(
        /at most 16 tokens, got 17/,
      );
      expect((await refused("/v1/embeddings", { model: "other", input: "a" }))[0]).toBe(404);
      const text = await refused("/v1/completions", { prompt: "a" });
      expect(text).toEqual([400, "model", "tiny makes embeddings and no text"]);
      expect(server.load).toEqual({ running: 0, waiting: 0 });
    } finally {
      await server.close();
    }
  });

  test("are refused by a model that makes text", async () => {
    const server = await start({ slots: 1 });
    const answer = await post(server, "/v1/embeddings", { input: "a" });
    expect([answer.status, await answer.json()]).toEqual([
      400,
      { error: expect.objectContaining({ message: "tiny makes text and no embeddings", param: "model" }) },
    ]);
    await server.close();
  });
});

describe("many requests for embeddings", () => {
  /** An encoder whose passes take a while. */
  const slowEncoder = async (ms: number): Promise<EncoderModel> => {
    const model = await encoder();
    const forward = model.forward.bind(model);
    model.forward = (...input) => {
      const end = performance.now() + ms;
      while (performance.now() < end);
      return forward(...input);
    };
    return model;
  };
  const long = { input: new Array<string>(200).fill("the sea") };

  test("take turns, and one above the limit is answered 429", async () => {
    const server = await startEncoder({ slots: 1, queue: 1, model: await slowEncoder(60) });
    try {
      const ended: string[] = [];
      const first = ask(server, long).then(() => ended.push("long"));
      await until(() => server.load.running === 1, "the long one is under way");
      const second = ask(server, { input: long.input.slice(0, 40) }).then(() => ended.push("short"));
      await until(() => server.load.running === 2, "the short one is under way");
      const third = await post(server, "/v1/embeddings", { input: "x" });
      expect([third.status, Number(third.headers.get("retry-after"))]).toEqual([429, expect.any(Number)]);
      await Promise.all([first, second]);
      expect(ended).toEqual(["short", "long"]);
    } finally {
      await server.close();
    }
  });

  test("end when their reader vanishes, their time is over, or the server is closed", async () => {
    const server = await startEncoder({ slots: 1, queue: 0, model: await slowEncoder(60) });
    const socket = await rawRequest(server, "/v1/embeddings", long);
    await until(() => server.load.running === 1, "it is under way");
    socket.destroy();
    expect(await until(() => server.load.running === 0, "its place is free")).toBeLessThan(500);
    expect(vectorsOf(await ask(server, { input: "sea" })).length).toBe(1);
    const cut = post(server, "/v1/embeddings", long);
    await until(() => server.load.running === 1, "it is under way");
    const closed = server.close({ graceMs: 400 });
    expect((await post(server, "/v1/embeddings", { input: "x" })).status).toBe(503);
    expect(((await (await cut).json()) as { error: { code: string } }).error.code).toBe("shutting_down");
    await closed;
    const brief = await startEncoder({ timeoutMs: 60, model: await slowEncoder(20) });
    const late = await fetch(`${brief.url}/v1/embeddings`, {
      method: "POST",
      headers,
      body: JSON.stringify(long),
    });
    expect([late.status, await late.text()]).toEqual([503, expect.stringMatching(/not ready in 60 ms/)]);
    await brief.close();
  });
});

describe.skipIf(noTestModels !== null)("all-MiniLM-L6-v2", () => {
  test("is served with the vectors of Transformers, to 1e-5", async () => {
    const want: { texts: string[]; vectors: string } = JSON.parse(
      readFileSync(`${goldens}sentences.json`, "utf8"),
    );
    const folder = testModel("all-MiniLM-L6-v2");
    const model = await modelFromPretrained(folder, { task: "feature-extraction" });
    const options = {
      model,
      tokenizer: await loadTokenizer(folder),
      sentence: await loadSentenceConfig(folder),
    };
    const server = await start(options);
    try {
      const places = want.texts.flatMap((text, i) => (text === "" ? [] : [i]));
      const answer = await ask(server, { input: places.map((i) => want.texts[i]) });
      const numbers = Buffer.from(want.vectors, "base64");
      const width = model.config.hiddenSize;
      const wanted = places.map((i) =>
        Array.from({ length: width }, (_, j) => numbers.readFloatLE(4 * (i * width + j))),
      );
      for (const [i, vector] of vectorsOf(answer).entries())
        for (const [j, x] of vector.entries()) expect(Math.abs(x - wanted[i]![j]!)).toBeLessThan(1e-5);
    } finally {
      await server.close();
    }
  });
});
