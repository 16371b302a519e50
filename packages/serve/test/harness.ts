import { connect, type Socket } from "node:net";
import { fileURLToPath } from "node:url";
import { attach, lora, peftFiles } from "@lowrank/adapters";
import { wasm } from "@lowrank/backend-wasm";
import { LlamaForCausalLM, loadTokenizer, parseLlamaConfig, type Tokenizer } from "@lowrank/models";
import { evaluate, key, normal, setDefaultBackend } from "@lowrank/tensor";
import { type Served, type ServeOptions, serve } from "../src/index.js";

const TOKENIZER = fileURLToPath(new URL("../../../examples/quickstart/model/", import.meta.url));

export const CHAT_TEMPLATE =
  "{% for m in messages %}[{{ m.role }}] {{ m.content }}\n{% endfor %}{% if add_generation_prompt %}[assistant] {% endif %}";

export async function startBackend(): Promise<void> {
  setDefaultBackend(await wasm({ threads: 1 }));
}

export const newModel = (): LlamaForCausalLM =>
  new LlamaForCausalLM(
    parseLlamaConfig({
      vocab_size: 4096,
      hidden_size: 32,
      intermediate_size: 48,
      num_hidden_layers: 2,
      num_attention_heads: 4,
      num_key_value_heads: 2,
      max_position_embeddings: 512,
      initializer_range: 0.3,
      tie_word_embeddings: true,
      bos_token_id: 0,
      eos_token_id: 0,
    }),
    { key: key(1) },
  ).eval() as LlamaForCausalLM;

export const newTokenizer = (): Promise<Tokenizer> =>
  loadTokenizer(TOKENIZER, { chatTemplate: CHAT_TEMPLATE });

/** The files of an adapter that does something. */
export async function adapterFiles(seed: number, rank = 2): Promise<Map<string, Uint8Array>> {
  const one = attach(newModel(), lora, { rank }, { targets: ["q_proj", "v_proj", "down_proj"] });
  await evaluate(
    ...[...one.parameters()].map(([path, p]) =>
      p.assign(normal(p.shape, { key: key(seed).foldName(path), std: 0.3 })),
    ),
  );
  return peftFiles(one);
}

export async function start(options: Partial<ServeOptions> = {}): Promise<Served> {
  const all = { model: newModel(), tokenizer: await newTokenizer(), port: 0, token: "secret", name: "tiny" };
  return serve({ ...all, ...options });
}

export const headers = { "content-type": "application/json", authorization: "Bearer secret" };

export const post = (
  server: Served,
  path: string,
  body: unknown,
  init: RequestInit = {},
): Promise<Response> =>
  fetch(`${server.url}${path}`, { method: "POST", headers, body: JSON.stringify(body), ...init });

/** The answer's text, streamed or whole. */
export async function textOf(response: Response): Promise<string> {
  const type = response.headers.get("content-type") ?? "";
  if (!type.startsWith("text/event-stream")) {
    const { choices } = (await response.json()) as {
      choices: { text?: string; message?: { content: string } }[];
    };
    return choices[0]!.message?.content ?? choices[0]!.text ?? "";
  }
  let text = "";
  for (const event of events(await response.text())) {
    if (event === "[DONE]") return text;
    const chunk = JSON.parse(event) as Chunk;
    if (chunk.error) throw new Error(chunk.error.message);
    text += chunk.choices[0]?.delta?.content ?? chunk.choices[0]?.text ?? "";
  }
  throw new Error("the stream ended before [DONE]");
}

export interface Chunk {
  error?: { message: string };
  usage?: { prompt_tokens: number; completion_tokens: number; total_tokens: number } | null;
  choices: {
    text?: string;
    delta?: { role?: string; content?: string };
    finish_reason: string | null;
  }[];
}

export const events = (body: string): string[] =>
  body
    .split("\n\n")
    .filter((part) => part.startsWith("data: "))
    .map((part) => part.slice(6));

/** A connection that sends a request and takes nothing unless told to. */
export function rawRequest(server: Served, path: string, body: unknown): Promise<Socket> {
  const { port } = new URL(server.url);
  const text = JSON.stringify(body);
  const lines = [
    `POST ${path} HTTP/1.1`,
    "host: localhost",
    "content-type: application/json",
    "authorization: Bearer secret",
    `content-length: ${Buffer.byteLength(text)}`,
  ];
  return new Promise((resolve, reject) => {
    const socket = connect(Number(port), "127.0.0.1", () => {
      socket.write(`${lines.join("\r\n")}\r\n\r\n${text}`);
      resolve(socket);
    });
    socket.on("error", reject);
    socket.pause();
  });
}

/** Waits until something holds. */
export async function until(holds: () => boolean, what: string, ms = 5000): Promise<number> {
  const began = performance.now();
  while (!holds()) {
    if (performance.now() - began > ms) throw new Error(`not within ${ms} ms: ${what}`);
    await new Promise((resolve) => setTimeout(resolve, 1));
  }
  return performance.now() - began;
}
