import { basename, resolve } from "node:path";
import {
  ARCHITECTURES,
  type ConfigJson,
  loadSentenceConfig,
  loadTokenizer,
  modelFromPretrained,
  openFolder,
  readConfigJson,
  resolveModel,
} from "@lowrank/models";
import { adaptersIn, type Served, serve, type ServeOptions } from "@lowrank/serve";
import { command, common, computing } from "../command.js";
import { onDevice } from "../device.js";
import { UsageError } from "../fault.js";
import { loadModel, modelOperand, type Precision, precision } from "../model-folder.js";
import { integer, text, texts, toggle } from "../options.js";
import type { Output } from "../output.js";
import { cacheType } from "../sampling.js";

const listOf = (about: string, value: string) =>
  texts(`${about}; several with commas between.`, { value, expected: "texts" }, { otherwise: "none" });

export const serveCommand = /* @__PURE__ */ command({
  name: "serve",
  summary: "answers requests over HTTP, as OpenAI's API does",
  about:
    "Serves chat and completions, streamed or whole: many requests in one batch, each with its own LoRA adapter on the one model; or embeddings, where the model is one of sentences. It listens on this machine only unless told otherwise, and asks for a token, which it prints once. Ctrl-C or SIGTERM refuses new requests, lets those under way end, and stops.",
  options: {
    model: modelOperand,
    name: text("What requests call the model.", {}, { otherwise: "the name of its folder" }),
    adapters: listOf("Adapters by name, with their folders in PEFT's form", "NAME=FOLDER"),
    "adapter-root": text(
      "A folder in which each folder is an adapter; those that come later are seen too.",
      { value: "FOLDER", expected: "the path of a folder" },
      { otherwise: "none" },
    ),
    "adapter-slots": integer("Adapters in memory at once.", { min: 1, max: 4096 }, { fallback: 8 }),
    "adapter-rank": integer("The largest rank of an adapter.", { min: 1, max: 4096 }, { fallback: 16 }),
    host: text("Address to listen at.", { value: "ADDRESS" }, { fallback: "127.0.0.1" }),
    port: integer("Port; 0 takes a free one.", { min: 0, max: 65_535 }, { fallback: 8080 }),
    token: text(
      "Token that requests bring; better in LOWRANK_SERVE_TOKEN than here, where others can see it.",
      {},
      { otherwise: "LOWRANK_SERVE_TOKEN, or a new one that is printed" },
    ),
    open: toggle("Asks for no token: every program on this machine may call it."),
    hosts: listOf("Further host names under which it may be addressed", "NAME"),
    origins: listOf("Origins of pages that may call it", "ORIGIN"),
    slots: integer("Texts made at once.", { min: 1, max: 1024 }, { fallback: 8 }),
    queue: integer(
      "Requests that wait beside those; the next gets 429.",
      { min: 0, max: 100_000 },
      { fallback: 56 },
    ),
    fewest: toggle(
      "Computes no idle slots: faster while there are one or two requests, and an answer may then depend, in the last digits of its probabilities, on those beside it.",
    ),
    context: integer(
      "Positions of a text, prompt and answer.",
      { min: 2 },
      { otherwise: "those of the model, at most 1024" },
    ),
    "max-tokens": integer(
      "The most tokens that a request may ask for.",
      { min: 1 },
      { otherwise: "as many as fit" },
    ),
    timeout: integer("Seconds that a request may take in all.", { min: 1, max: 86_400 }, { fallback: 600 }),
    grace: integer(
      "Seconds that requests under way have to end when it is stopped.",
      { min: 1, max: 86_400 },
      { fallback: 60 },
    ),
    dtype: precision,
    "cache-type": cacheType,
    ...computing,
    ...common,
  },
  headings: {
    name: "Model",
    host: "Who may call it",
    slots: "Limits",
    dtype: "Machine",
    config: "General",
  },
  examples: [
    ["a model", "lowrank serve models/chat"],
    [
      "two adapters on it, and a page that may call it",
      "lowrank serve models/base --adapters formal=runs/formal/adapter,terse=runs/terse/adapter --origins http://localhost:5173",
    ],
  ],
  async run(settings, { output, signal }) {
    const token = settings.open
      ? null
      : (settings.token ?? (process.env["LOWRANK_SERVE_TOKEN"] || undefined));
    if (settings.open && settings.token !== undefined) {
      throw new UsageError({ where: "--open", expected: "no --token with it", got: "both" });
    }
    const adapters = adaptersOf(items(settings.adapters));
    const root = settings["adapter-root"];
    const source = root === undefined ? undefined : await adaptersIn(root);
    await onDevice(settings, output, async (backend) => {
      const options: ServeOptions = {
        ...(await load(settings.model, settings.dtype, signal)),
        name: settings.name ?? basename(resolve(settings.model)).replace(/\.gguf$/, ""),
        adapters,
        ...(source === undefined ? {} : { adapterSource: source }),
        adapterSlots: settings["adapter-slots"],
        adapterRank: settings["adapter-rank"],
        hostname: settings.host,
        port: settings.port,
        ...(token === undefined ? {} : { token }),
        hosts: items(settings.hosts),
        origins: items(settings.origins),
        slots: settings.slots,
        queue: settings.queue,
        ...(settings.context === undefined ? {} : { capacity: settings.context }),
        ...(settings["max-tokens"] === undefined ? {} : { maxTokens: settings["max-tokens"] }),
        timeoutMs: settings.timeout * 1000,
        cacheDtype: settings["cache-type"],
        // Elsewhere products of more rows may end in other digits.
        rows: settings.fewest ? "fewest" : backend.name === "wasm" ? "steady" : "all",
        onError: (error) => output.warn(error instanceof Error ? error.message : String(error)),
      };
      const server = await serve(options);
      tell(server, options, token === undefined, output);
      await new Promise<void>((stop) => {
        if (signal.aborted) return stop();
        signal.addEventListener("abort", () => stop(), { once: true });
      });
      await server.close({ graceMs: settings.grace * 1000 });
      output.record({ type: "end" });
      output.note("stopped");
    });
  },
});

/** A model that makes text, or one that makes vectors and how it is meant to be used. */
async function load(
  argument: string,
  dtype: Precision,
  signal: AbortSignal,
): Promise<Pick<ServeOptions, "model" | "tokenizer" | "sentence">> {
  const { path } = await resolveModel(argument);
  const tokenizer = await loadTokenizer(path);
  if (/\.gguf$/i.test(path) || makesText(await readConfigJson(await openFolder(path))))
    return { model: (await loadModel(argument, { dtype, signal })).model, tokenizer };
  const model = await modelFromPretrained(path, {
    task: "feature-extraction",
    dtype,
    resident: true,
    signal,
  });
  return { model, tokenizer, sentence: await loadSentenceConfig(path) };
}

/** What makes no text is read as an encoder, whatever head its file has. */
function makesText({ architectures: listed, model_type: type }: ConfigJson): boolean {
  const named = Array.isArray(listed) && listed.length > 0 ? listed : null;
  return ARCHITECTURES.some(
    ({ task, name, modelType }) =>
      task === "text-generation" && (named ? named.includes(name) : modelType === type),
  );
}

const items = (given: string | readonly string[] | undefined): string[] =>
  (typeof given === "string" ? given.split(",") : [...(given ?? [])])
    .map((item) => item.trim())
    .filter(Boolean);

function adaptersOf(given: readonly string[]): Record<string, string> {
  const adapters = new Map<string, string>();
  for (const item of given) {
    const [, name, folder] = /^([A-Za-z0-9_-]+)=(.+)$/.exec(item) ?? [];
    if (name === undefined || folder === undefined || adapters.has(name)) {
      throw new UsageError({
        where: "--adapters",
        expected: "NAME=FOLDER with a name of letters, digits, _ and -, each once",
        got: JSON.stringify(item),
      });
    }
    adapters.set(name, folder);
  }
  return Object.fromEntries(adapters);
}

function tell(
  server: Served,
  { name, slots = 0, queue = 0, sentence }: ServeOptions,
  made: boolean,
  output: Output,
): void {
  const { url, token } = server;
  output.record({ type: "listening", url, token, model: name });
  output.table([
    ["listening", `${url}/v1`],
    [
      "model",
      sentence
        ? `${name}, vectors for ${slots + queue} requests in turn`
        : `${name}, ${slots} texts at once, ${queue} waiting`,
    ],
    [
      "token",
      token === null ? "none: every program on this machine may use it" : made ? token : "the one given",
    ],
  ]);
}
