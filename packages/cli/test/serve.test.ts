import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, expect, test } from "vitest";
import { makeData, makeModel, run } from "./harness.js";

const scratch = mkdtempSync(join(tmpdir(), "cli-serve-"));
afterAll(() => rmSync(scratch, { recursive: true }));
const at = (...parts: string[]): string => join(scratch, ...parts);

beforeAll(async () => {
  await makeModel(at("model"));
  makeData(at("data"));
  const ran = await run([
    ...["finetune", at("model"), at("data", "text.jsonl"), "--out", at("run"), "--lr", "0.1"],
    ...["--steps", "4", "--batch", "2", "--length", "32", "--rank", "2", "--threads", "1"],
  ]);
  expect(ran.status).toBe(0);
});

interface Listening {
  url: string;
  token: string | null;
}

/** Runs a server while `use` calls it. */
async function serving(argv: string[], use: (server: Listening) => Promise<void>): Promise<number> {
  const controller = new AbortController();
  let used: Promise<void> = Promise.resolve();
  const { status } = await run(
    ["serve", at("model"), "--port", "0", "--threads", "1", "--json", "--device", "wasm", ...argv],
    {
      signal: controller.signal,
      onOutput: (text) => {
        const line = text.split("\n").find((part) => part.includes('"listening"'));
        if (line !== undefined) used = use(JSON.parse(line)).finally(() => controller.abort());
      },
    },
  );
  await used;
  return status;
}

test("a model and the adapters named to it are served, to those with the token that was printed", async () => {
  const argv = ["--name", "whale", "--adapters", `mine=${at("run", "adapter")}`, "--adapter-root", at("run")];
  const status = await serving(argv, async ({ url, token }) => {
    const headers = { "content-type": "application/json", authorization: `Bearer ${token}` };
    expect((await fetch(`${url}/v1/models`)).status).toBe(401);
    const models = (await (await fetch(`${url}/v1/models`, { headers })).json()) as {
      data: { id: string }[];
    };
    expect(models.data.map(({ id }) => id)).toEqual(["whale", "whale:adapter", "whale:mine"]);
    const texts: string[] = [];
    for (const model of ["whale", "whale:mine", "whale:adapter"]) {
      const body = JSON.stringify({ model, prompt: "the whale", temperature: 0, max_tokens: 8 });
      const answer = await fetch(`${url}/v1/completions`, { method: "POST", headers, body });
      texts.push(((await answer.json()) as { choices: { text: string }[] }).choices[0]!.text);
    }
    expect(texts[1]).toBe(texts[2]);
    expect(texts[1]).not.toBe(texts[0]);
  });
  expect(status).toBe(0);
});

test("without a token only where that is said", async () => {
  const status = await serving(["--open"], async ({ url, token }) => {
    expect(token).toBeNull();
    expect((await fetch(`${url}/v1/models`)).status).toBe(200);
  });
  expect(status).toBe(0);
});

test("settings that cannot be are told before the model is loaded", async () => {
  const refused = async (...argv: string[]): Promise<string> =>
    (await run(["serve", at("model"), ...argv])).stderr;
  expect(await refused("--adapters", "mine")).toMatch(/--adapters: expected NAME=FOLDER .*, got "mine"/);
  expect(await refused("--adapters", "a=x,a=y")).toMatch(/each once, got "a=y"/);
  expect(await refused("--adapter-root", at("none"))).toMatch(/expected a folder/);
  expect(await refused("--open", "--token", "x")).toMatch(/--open: expected no --token/);
  expect(await refused("--port", "70000")).toMatch(/port/);
  expect(await refused("--context", "4096", "--port", "0", "--device", "wasm")).toMatch(
    /capacity to be an integer from 1 to 128/,
  );
});
