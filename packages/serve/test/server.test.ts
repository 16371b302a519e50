import { generateText } from "@lowrank/models";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import type { Served } from "../src/index.js";
import {
  type Chunk,
  events,
  headers,
  newModel,
  newTokenizer,
  post,
  start,
  startBackend,
  textOf,
} from "./harness.js";

let server: Served;
beforeAll(async () => {
  await startBackend();
  server = await start({ slots: 2 });
});
afterAll(() => server.close());

const CHAT = {
  model: "tiny",
  messages: [{ role: "user", content: "Call me Ishmael." }],
  seed: 3,
  max_tokens: 12,
};

describe("answers", () => {
  test("a completion is what generateText makes, with its tokens counted", async () => {
    const body = { prompt: "Call me", temperature: 0, max_tokens: 9 };
    const answer = await post(server, "/v1/completions", body);
    expect(answer.status).toBe(200);
    const json = (await answer.json()) as Record<string, unknown>;
    const [model, tokenizer] = [newModel(), await newTokenizer()];
    const made = await generateText(model, tokenizer, "Call me", { greedy: true, maxNewTokens: 9 });
    expect(json).toMatchObject({
      object: "text_completion",
      model: "tiny",
      choices: [{ index: 0, text: made.text, finish_reason: made.reason, logprobs: null }],
      usage: {
        prompt_tokens: made.promptTokens,
        completion_tokens: made.ids.length,
        total_tokens: made.promptTokens + made.ids.length,
      },
    });
    expect(json["id"]).toMatch(/^cmpl-/);
  });

  test("a chat answer is the same streamed and whole, and follows the template", async () => {
    const whole = await (await post(server, "/v1/chat/completions", CHAT)).json();
    const tokenizer = await newTokenizer();
    const ids = tokenizer.encode("[user] Call me Ishmael.\n[assistant] ", { addSpecialTokens: false });
    const made = await generateText(newModel(), tokenizer, ids, { seed: 3, maxNewTokens: 12 });
    expect(whole).toMatchObject({
      object: "chat.completion",
      choices: [{ message: { role: "assistant", content: made.text }, finish_reason: made.reason }],
    });
    const stream = { ...CHAT, stream: true, stream_options: { include_usage: true } };
    const answer = await post(server, "/v1/chat/completions", stream);
    expect(answer.headers.get("content-type")).toMatch(/^text\/event-stream/);
    const all = events(await answer.text());
    expect(all.pop()).toBe("[DONE]");
    const chunks = all.map((event) => JSON.parse(event) as Chunk);
    expect(chunks[0]!.choices[0]!.delta).toEqual({ role: "assistant", content: "" });
    expect(chunks.map((c) => c.choices[0]?.delta?.content ?? "").join("")).toBe(made.text);
    expect(chunks.at(-2)!.choices[0]!.finish_reason).toBe(made.reason);
    expect(chunks.at(-1)!.usage!.total_tokens).toBe(ids.length + made.ids.length);
  });

  test("a stop text ends the answer before it, and parts of a message are joined", async () => {
    const messages = [
      {
        role: "developer",
        content: [
          { type: "text", text: "Be " },
          { type: "text", text: "brief." },
        ],
      },
      { role: "user", content: "Who?" },
    ];
    const body = { ...CHAT, messages, temperature: 0, max_tokens: 16 };
    const whole = await textOf(await post(server, "/v1/chat/completions", body));
    const stop = whole.slice(5, 9);
    const cut = await textOf(await post(server, "/v1/chat/completions", { ...body, stop: [stop, "\u0000"] }));
    expect(cut).toBe(whole.slice(0, whole.indexOf(stop)));
    expect(whole.length).toBeGreaterThan(10);
  });

  test("a prompt may be token ids; the same seed gives the same text, none another each time", async () => {
    const body = { prompt: [5, 6, 7], max_tokens: 8, temperature: 2, top_k: 500, min_p: 0.001 };
    const run = async (more: object): Promise<string> =>
      textOf(await post(server, "/v1/completions", { ...body, ...more }));
    expect(await run({ seed: 1 })).toBe(await run({ seed: 1 }));
    expect(await run({})).not.toBe(await run({}));
  });

  test("the list of models has the base, and the health needs no token", async () => {
    const models = await (await fetch(`${server.url}/v1/models`, { headers })).json();
    expect(models).toEqual({
      object: "list",
      data: [{ id: "tiny", object: "model", created: 0, owned_by: "lowrank" }],
    });
    expect(await (await fetch(`${server.url}/health`)).json()).toEqual({
      status: "ok",
      running: 0,
      waiting: 0,
    });
  });
});

describe("requests that are refused", () => {
  const refused = async (
    body: unknown,
    path = "/v1/chat/completions",
  ): Promise<[status: number, param: string | null, message: string]> => {
    const answer = await post(server, path, body);
    const { error } = (await answer.json()) as { error: { message: string; param: string | null } };
    return [answer.status, error.param, error.message];
  };

  test.each([
    [{ ...CHAT, messages: [] }, "messages"],
    [{ ...CHAT, messages: [{ role: "robot", content: "x" }] }, "messages.0.role"],
    [{ ...CHAT, messages: [{ role: "user", content: [{ type: "image_url" }] }] }, "messages.0.content"],
    [{ ...CHAT, temperature: -1 }, "temperature"],
    [{ ...CHAT, top_p: 0 }, "top_p"],
    [{ ...CHAT, max_tokens: 1.5 }, "max_tokens"],
    [{ ...CHAT, max_tokens: 5000 }, "max_tokens"],
    [{ ...CHAT, n: 2 }, "n"],
    [{ ...CHAT, tools: [{ type: "function" }] }, "tools"],
    [{ ...CHAT, response_format: { type: "json_object" } }, "response_format"],
    [{ ...CHAT, stop: "" }, "stop"],
    [{ ...CHAT, messages: [{ role: "user", content: "word ".repeat(2000) }] }, "messages"],
  ])("%j names the member %s", async (body, param) => {
    const [status, named] = await refused(body);
    expect([status, named]).toEqual([400, param]);
  });

  test("values that change nothing, and null, are taken as left out", async () => {
    const harmless = {
      n: 1,
      presence_penalty: 0,
      tools: [],
      logprobs: false,
      stop: null,
      user: "me",
      logit_bias: {},
    };
    expect((await post(server, "/v1/chat/completions", { ...CHAT, ...harmless })).status).toBe(200);
  });

  test("another model, another path, no JSON, another type", async () => {
    expect((await refused({ ...CHAT, model: "gpt-9" }))[0]).toBe(404);
    expect((await refused({ ...CHAT, model: "tiny:formal" }))[0]).toBe(404);
    expect((await refused(CHAT, "/v1/nothing"))[0]).toBe(404);
    expect((await refused([]))[0]).toBe(400);
    expect((await refused({ prompt: [4096] }, "/v1/completions"))[2]).toMatch(/token ids from 0 to 4095/);
    const raw = (body: string, type: string): Promise<Response> =>
      fetch(`${server.url}/v1/completions`, {
        method: "POST",
        body,
        headers: { ...headers, "content-type": type },
      });
    expect((await raw("{", "application/json")).status).toBe(400);
    expect((await raw("[".repeat(500_000), "application/json")).status).toBe(400);
    expect((await raw("{}", "text/plain")).status).toBe(415);
  });

  test("a body over the limit, told or not, is refused before it is read", async () => {
    const long = { ...CHAT, user: "x".repeat(1_100_000) };
    expect((await refused(long))[0]).toBe(413);
    const stream = new ReadableStream({
      pull: (c) => c.enqueue(new Uint8Array(1 << 16).fill(32)),
    });
    const answer = await fetch(`${server.url}/v1/completions`, {
      method: "POST",
      body: stream,
      headers,
      duplex: "half",
    } as RequestInit).catch(() => null);
    if (answer !== null) expect(answer.status).toBe(413);
    expect((await post(server, "/v1/chat/completions", CHAT)).status).toBe(200);
  });
});
