import { activate, loadPeft } from "@lowrank/adapters";
import { generateText } from "@lowrank/models";
import { beforeAll, describe, expect, test } from "vitest";
import {
  adapterFiles,
  headers,
  newModel,
  newTokenizer,
  post,
  rawRequest,
  start,
  startBackend,
  textOf,
  until,
} from "./harness.js";

type Files = Map<string, Uint8Array>;
let adapters: Record<string, Files>;
beforeAll(async () => {
  await startBackend();
  const names = ["a", "b", "c", "d", "e"];
  adapters = Object.fromEntries(
    await Promise.all(
      names.map(async (name, i): Promise<[string, Files]> => [name, await adapterFiles(i + 2)]),
    ),
  );
});

/** The i-th of many requests: other prompts, adapters, lengths and ways to draw. */
const requestOf = (i: number): Record<string, unknown> => ({
  model: i % 6 === 5 ? "tiny" : `tiny:${"abcde"[i % 6]}`,
  prompt: `${"The whale ".repeat(1 + (i % 9))}and ${i}`,
  max_tokens: i < 8 ? 150 : 5 + ((i * 7) % 30), // the first have the slots for a while
  seed: i,
  temperature: i % 3 === 0 ? 0 : 0.9,
  top_p: i % 2 ? 0.95 : 1,
  stream: true,
});

describe("64 streams at once", () => {
  test("each answer equals that of the same request alone, and the next request is answered 429", async () => {
    const server = await start({ slots: 8, queue: 56, adapters });
    try {
      // Loaded before, so that nobody is overtaken by those whose adapter is there already.
      for (const name of Object.keys(adapters))
        await fetch(`${server.url}/v1/adapters/${name}`, { method: "POST", headers });
      const all = Array.from({ length: 64 }, (_, i) => post(server, "/v1/completions", requestOf(i)));
      const answers = await Promise.all(all); // headers come at once, texts while they are made
      expect(answers.map(({ status }) => status)).toEqual(new Array(64).fill(200));
      const next = await post(server, "/v1/completions", requestOf(1));
      expect(next.status).toBe(429);
      expect(Number(next.headers.get("retry-after"))).toBeGreaterThanOrEqual(1);
      expect(((await next.json()) as { error: { code: string } }).error.code).toBe("queue_full");
      const texts = await Promise.all(answers.map(textOf));
      for (const [i, text] of texts.entries()) {
        expect(await textOf(await post(server, "/v1/completions", requestOf(i)))).toBe(text);
      }
      expect(new Set(texts).size).toBeGreaterThan(60);
      expect(server.load).toEqual({ running: 0, waiting: 0 });
      // And as the library makes it, with the adapter alone on the model.
      const [model, tokenizer] = [newModel(), await newTokenizer()];
      for (const [name, files] of Object.entries(adapters)) await loadPeft(model, files, { name });
      for (let i = 0; i < 64; i += 7) {
        const {
          prompt,
          max_tokens: maxNewTokens,
          temperature,
          top_p: topP,
          seed,
        } = requestOf(i) as {
          [name: string]: number;
        } & { prompt: string };
        activate(model, i % 6 === 5 ? [] : ["abcde"[i % 6]!]);
        const drawn = temperature === 0 ? { greedy: true } : { temperature };
        const made = await generateText(model, tokenizer, prompt, { ...drawn, topP, seed, maxNewTokens });
        expect(made.text).toBe(texts[i]);
      }
    } finally {
      await server.close();
    }
  });
});

const LONG = {
  prompt: "Call me",
  max_tokens: 400,
  temperature: 1,
  seed: 1,
  stream: true,
  stop: ["\u0000never"],
};

describe("readers", () => {
  test("that vanish free their slots at once, streamed or not, under way or waiting", async () => {
    const server = await start({ slots: 1, queue: 4 });
    try {
      for (const stream of [true, false]) {
        const sockets = [];
        for (let i = 0; i < 3; i++) {
          sockets.push(await rawRequest(server, "/v1/completions", { ...LONG, stream }));
          await until(() => server.load.running + server.load.waiting === i + 1, "the request is taken in");
        }
        sockets[2]!.destroy();
        await until(() => server.load.waiting === 1, "the place in the queue is free");
        sockets[0]!.destroy();
        await until(() => server.load.waiting === 0, "the next has the slot");
        expect(server.load.running).toBe(1);
        sockets[1]!.destroy();
        expect(await until(() => server.load.running === 0, "the slot is free")).toBeLessThan(500);
      }
    } finally {
      await server.close();
    }
  });

  test("that take nothing hold nobody up", async () => {
    const server = await start({ slots: 1, queue: 4, stallMs: 300 });
    try {
      const slow = await rawRequest(server, "/v1/completions", { ...LONG, max_tokens: 300 });
      await until(() => server.load.running === 1, "the slow one has the slot");
      const quick = await textOf(await post(server, "/v1/completions", { ...LONG, max_tokens: 3 }));
      expect(quick.length).toBeGreaterThan(0);
      expect(server.load).toEqual({ running: 0, waiting: 0 });
      slow.destroy();
    } finally {
      await server.close();
    }
  });

  test("an answer that takes too long is ended, streamed and whole", async () => {
    const server = await start({ slots: 1, timeoutMs: 30, model: newModel() });
    try {
      const whole = await post(server, "/v1/completions", { ...LONG, max_tokens: 490, stream: false });
      expect(whole.status).toBe(503);
      const streamed = await post(server, "/v1/completions", { ...LONG, max_tokens: 490 });
      await expect(textOf(streamed)).rejects.toThrow(/not ready in 30 ms/);
      expect(server.load.running).toBe(0);
    } finally {
      await server.close();
    }
  });
});

describe("closing", () => {
  test("ends what is under way whole, refuses what comes, and is done", async () => {
    const server = await start({ slots: 2, queue: 4 });
    const body = { ...LONG, max_tokens: 120 };
    const answers = await Promise.all(
      [1, 2, 3].map((seed) => post(server, "/v1/completions", { ...body, seed })),
    );
    const closed = server.close();
    const refused = await post(server, "/v1/completions", body);
    expect(refused.status).toBe(503);
    expect(Number(refused.headers.get("retry-after"))).toBeGreaterThan(0);
    const health = await (await fetch(`${server.url}/health`)).json();
    expect(health).toMatchObject({ status: "draining" });
    const texts = await Promise.all(answers.map(textOf));
    await closed;
    const again = await start({ slots: 2 });
    for (const [i, text] of texts.entries()) {
      expect(await textOf(await post(again, "/v1/completions", { ...body, seed: i + 1 }))).toBe(text);
    }
    await again.close();
    await expect(fetch(`${server.url}/health`)).rejects.toThrow();
  });

  test("after its grace, ends what is still under way", async () => {
    const server = await start({ slots: 1 });
    const answer = await post(server, "/v1/completions", { ...LONG, max_tokens: 490 });
    const text = textOf(answer);
    const told = expect(text).rejects.toThrow(/the server has ended/);
    await server.close({ graceMs: 20 });
    await told;
  });
});
