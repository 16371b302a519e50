import type { Socket } from "node:net";
import { setFlagsFromString } from "node:v8";
import { runInNewContext } from "node:vm";
import { generateText, type LlamaForCausalLM } from "@lowrank/models";
import { afterEach, beforeAll, beforeEach, expect, test, vi } from "vitest";
import {
  events,
  newModel,
  newTokenizer,
  post,
  rawRequest,
  start,
  startBackend,
  textOf,
  until,
} from "./harness.js";

beforeAll(startBackend);
beforeEach(() => {
  vi.spyOn(console, "error").mockImplementation(() => {}); // the HTTP server tells there whom it cut off
});
afterEach(() => vi.restoreAllMocks());

const STALL_MS = 600;
const STEP_MS = 8;
const TOKENS = 450;
const SLOW = 4;
/** In every event, so that few of them fill what the system holds for a reader: some megabytes. */
const NAME = "x".repeat(100_000);

/** A model whose steps take a while, so that a text is far from its end when its reader is cut off. */
function slowModel(): LlamaForCausalLM {
  const model = newModel();
  const forward = model.forward.bind(model);
  model.forward = (...input) => {
    const end = performance.now() + STEP_MS;
    while (performance.now() < end);
    return forward(...input);
  };
  return model;
}

setFlagsFromString("--expose-gc");
const collect = runInNewContext("gc") as () => void;

/** Bytes of buffers that are in use. */
function bufferBytes(): number {
  for (let i = 0; i < 2; i++) collect(); // what the first finds is given back by the second
  return process.memoryUsage().arrayBuffers;
}

/** Takes what there is up to the end of the connection. */
const rest = (socket: Socket): Promise<string> =>
  new Promise((resolve) => {
    const parts: string[] = [];
    socket.on("data", (part: Buffer) => parts.push(part.toString("latin1")));
    socket.on("close", () => resolve(parts.join("")));
    socket.resume();
  });

test("readers that stop taking are cut off in time: their places are free, memory is bounded, another gets its whole text", async () => {
  const server = await start({
    slots: SLOW + 1,
    queue: 0,
    stallMs: STALL_MS,
    model: slowModel(),
    name: NAME,
  });
  const body = { max_tokens: TOKENS, temperature: 1, stream: true, stop: ["\u0000never"] };
  const quick = { ...body, prompt: "The sea", seed: 2 };
  try {
    const other = await post(server, "/v1/completions", quick);
    const made: string[] = [];
    const reading = (async () => {
      for await (const part of other.body!.pipeThrough(new TextDecoderStream())) made.push(part);
    })();
    const before = bufferBytes();
    const slow = await Promise.all(
      Array.from({ length: SLOW }, (_, seed) =>
        rawRequest(server, "/v1/completions", { ...body, prompt: "Call me", seed }),
      ),
    );
    await until(() => server.load.running === SLOW + 1, "the slow ones have their slots");
    const [began, first] = [performance.now(), events(made.join("")).length];
    expect((await post(server, "/v1/completions", quick)).status).toBe(429);
    let most = 0;
    while (server.load.running > 1) {
      most = Math.max(most, bufferBytes() - before);
      await new Promise((resolve) => setTimeout(resolve, 100));
    }
    const [took, steps] = [performance.now() - began, events(made.join("")).length - first];
    const next = await post(server, "/v1/completions", { prompt: "Who", max_tokens: 2 });
    expect(next.status).toBe(200);
    await next.arrayBuffer();

    // Two events wait for each reader, and not all that were made meanwhile.
    expect(most).toBeLessThan(SLOW * 4 * NAME.length);
    for (const taken of await Promise.all(slow.map(rest))) {
      const got = taken.split("data: {").length - 1;
      expect(got).toBeGreaterThan(0);
      expect(taken).not.toContain("[DONE]");
      // Each step makes an event of every text, so the steps that it did not get tell for how long nothing went out.
      const stalledMs = ((steps - got) * took) / steps;
      expect(stalledMs).toBeGreaterThan(STALL_MS * 0.7);
      expect(stalledMs).toBeLessThan(STALL_MS * 2);
    }
    await reading;
    const tokenizer = await newTokenizer();
    const alone = await generateText(newModel(), tokenizer, "The sea", { seed: 2, maxNewTokens: TOKENS });
    expect(await textOf(new Response(made.join(""), { headers: other.headers }))).toBe(alone.text);
  } finally {
    await server.close();
  }
});
