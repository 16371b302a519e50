// One turn of wllama, llama.cpp in WebAssembly, in a Chromium without a window: model, threads.
import { createReadStream, existsSync, statSync } from "node:fs";
import { createServer } from "node:http";
import type { AddressInfo } from "node:net";
import { join } from "node:path";
import { chromium } from "playwright-core";
import { NEW_TOKENS, PROMPT, REPEATS, type Turn } from "./generate.js";
import { expectTextPeer } from "./text-peers.js";

const [model, threads] = process.argv.slice(2) as [string, string];
const folder = expectTextPeer("@wllama/wllama");
const browserPath = [
  process.env["LOWRANK_CHROMIUM"],
  "/usr/bin/chromium",
  "/usr/bin/chromium-browser",
  "/usr/bin/google-chrome",
].find((path) => path !== undefined && existsSync(path));
if (browserPath === undefined) throw new Error("expected a Chromium (LOWRANK_CHROMIUM), got none");

const files: Record<string, [path: string, type: string]> = {
  "/wllama.js": [join(folder, "esm/index.js"), "text/javascript"],
  "/wllama.wasm": [join(folder, "esm/wasm/wllama.wasm"), "application/wasm"],
  "/model.gguf": [model, "application/octet-stream"],
};
const server = createServer((request, response) => {
  response.setHeader("Cross-Origin-Opener-Policy", "same-origin");
  response.setHeader("Cross-Origin-Embedder-Policy", "require-corp");
  const file = files[request.url ?? ""];
  if (file === undefined) {
    response.setHeader("Content-Type", "text/html");
    return void response.end("<!doctype html><title>bench</title>");
  }
  response.setHeader("Content-Type", file[1]);
  response.setHeader("Content-Length", statSync(file[0]).size);
  createReadStream(file[0]).pipe(response);
});
await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
const origin = `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
const browser = await chromium.launch({ executablePath: browserPath, args: ["--no-sandbox"] });
const page = await browser.newPage();
await page.goto(origin);
page.setDefaultTimeout(600_000);
// As text: the compiler of this file puts helpers into functions that the page does not have.
const found = (await page.evaluate(`(async () => {
  const { Wllama } = await import("/wllama.js");
  const wllama = new Wllama({ default: location.origin + "/wllama.wasm" }, { suppressNativeLog: true });
  const blob = await (await fetch("/model.gguf")).blob();
  await wllama.loadModel([blob], { n_ctx: 1024, n_batch: 512, n_threads: ${Number(threads)} });
  const ask = (max_tokens) => wllama.createCompletion({
    prompt: ${JSON.stringify(PROMPT.repeat(REPEATS))}, max_tokens, temperature: 0, cache_prompt: false, ignore_eos: true,
  });
  await ask(4);
  const answer = await ask(${NEW_TOKENS});
  return { timings: answer.timings, text: answer.choices[0].text, threads: wllama.getNumThreads?.() ?? null };
})()`)) as { timings: Record<string, number>; text: string; threads: number | null };
await browser.close();
server.close();
const { prompt_per_second, predicted_per_second } = found.timings;
const result: Turn = {
  prefill_per_s: prompt_per_second!,
  decode_per_s: predicted_per_second!,
  text: found.text,
  details: `wllama in Chromium, ${found.threads ?? "?"} threads`,
};
console.log(JSON.stringify(result));
process.exit(0);
