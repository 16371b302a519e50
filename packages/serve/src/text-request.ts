import type { SamplingOptions } from "@lowrank/models";
import * as v from "valibot";
import { HttpError } from "./http-error.js";

const text = v.string();
const count = v.pipe(v.number(), v.safeInteger(), v.minValue(1));
const atMost = (max: number): v.GenericSchema<unknown, number> =>
  v.pipe(v.number(), v.minValue(0), v.maxValue(max));

/** Members that say which model answers. Null stands for a member that is left out, here as below. */
export const chosen = {
  model: v.nullish(v.pipe(text, v.maxLength(200))),
  adapter: v.nullish(v.pipe(text, v.maxLength(100))),
};

/** Members of chat and completion requests alike. */
const common = {
  ...chosen,
  stream: v.nullish(v.boolean()),
  stream_options: v.nullish(v.object({ include_usage: v.nullish(v.boolean()) })),
  max_tokens: v.nullish(count),
  temperature: v.nullish(atMost(100)),
  top_p: v.nullish(v.pipe(v.number(), v.gtValue(0), v.maxValue(1))),
  top_k: v.nullish(count),
  min_p: v.nullish(atMost(1)),
  repetition_penalty: v.nullish(v.pipe(v.number(), v.gtValue(0), v.maxValue(100))),
  seed: v.nullish(v.pipe(v.number(), v.safeInteger())),
  stop: v.nullish(
    v.union([
      v.pipe(text, v.nonEmpty(), v.maxLength(1000)),
      v.pipe(v.array(v.pipe(text, v.nonEmpty(), v.maxLength(1000))), v.maxLength(8)),
    ]),
  ),
};

/** Members that would change the answer and are not supported, with the values that change nothing. */
const REFUSED: readonly [name: string, harmless: (value: unknown) => boolean][] = [
  ["n", (x) => x === 1],
  ["best_of", (x) => x === 1],
  ["logprobs", (x) => x === false],
  ["top_logprobs", () => false],
  ["echo", (x) => x === false],
  ["suffix", (x) => x === ""],
  ["presence_penalty", (x) => x === 0],
  ["frequency_penalty", (x) => x === 0],
  ["logit_bias", (x) => typeof x === "object" && Object.keys(x as object).length === 0],
  ["tools", (x) => Array.isArray(x) && x.length === 0],
  ["tool_choice", (x) => x === "none" || x === "auto"],
  ["functions", (x) => Array.isArray(x) && x.length === 0],
  ["function_call", (x) => x === "none" || x === "auto"],
  ["response_format", (x) => (x as { type?: unknown }).type === "text"],
  ["modalities", (x) => JSON.stringify(x) === '["text"]'],
  ["audio", () => false],
  ["dimensions", () => false],
];

const part = v.object({ type: v.literal("text"), text });
const message = v.object({
  role: v.picklist(["system", "developer", "user", "assistant"]),
  content: v.union([text, v.pipe(v.array(part), v.minLength(1))]),
});

const chatSchema = v.object({
  ...common,
  max_completion_tokens: v.nullish(count),
  messages: v.pipe(v.array(message), v.minLength(1), v.maxLength(10_000)),
});

const completionSchema = v.object({
  ...common,
  prompt: v.union([text, v.array(v.pipe(v.number(), v.safeInteger()))]),
});

/** What is asked for, checked. */
export interface TextRequest {
  readonly kind: "chat" | "completion";
  readonly model: string | null;
  readonly adapter: string | null;
  readonly stream: boolean;
  readonly includeUsage: boolean;
  readonly maxTokens: number | null;
  readonly sampling: SamplingOptions;
  readonly seed: number | null;
  readonly stop: readonly string[];
  /** A conversation, a text, or token ids. */
  readonly prompt: readonly { role: string; content: string }[] | string | readonly number[];
}

/** @throws HttpError 400 naming the member at fault. */
export function readChatRequest(body: unknown): TextRequest {
  const r = check(chatSchema, body);
  const prompt = r.messages.map(({ role, content }) => ({
    role: role === "developer" ? "system" : role,
    content: typeof content === "string" ? content : content.map((p) => p.text).join(""),
  }));
  return { kind: "chat", ...shared(r), maxTokens: r.max_completion_tokens ?? r.max_tokens ?? null, prompt };
}

/** @throws HttpError 400 naming the member at fault. */
export function readCompletionRequest(body: unknown): TextRequest {
  const r = check(completionSchema, body);
  return { kind: "completion", ...shared(r), maxTokens: r.max_tokens ?? 16, prompt: r.prompt };
}

type Common = v.InferOutput<v.ObjectSchema<typeof common, undefined>>;

function shared(r: Common): Omit<TextRequest, "kind" | "maxTokens" | "prompt"> {
  const { temperature, top_p: topP, top_k: topK, min_p: minP, repetition_penalty: repetitionPenalty } = r;
  const sampling = {
    ...(temperature === 0 ? { greedy: true } : { temperature: temperature ?? 1 }),
    ...(topP == null ? {} : { topP }),
    ...(topK == null ? {} : { topK }),
    ...(minP == null ? {} : { minP }),
    ...(repetitionPenalty == null ? {} : { repetitionPenalty }),
  };
  return {
    model: r.model ?? null,
    adapter: r.adapter ?? null,
    stream: r.stream === true,
    includeUsage: r.stream_options?.include_usage === true,
    sampling,
    seed: r.seed ?? null,
    stop: typeof r.stop === "string" ? [r.stop] : (r.stop ?? []),
  };
}

/** @throws HttpError 400 naming the member that is at fault, or not supported. */
export function check<S extends v.GenericSchema>(schema: S, body: unknown): v.InferOutput<S> {
  const result = v.safeParse(schema, body, { abortEarly: true });
  if (!result.success) {
    const [issue] = result.issues;
    const path = v.getDotPath(issue);
    const name = path === null ? "the body" : path;
    throw new HttpError(400, "invalid_request", `${name}: ${issue.message.slice(0, 300)}`, path);
  }
  for (const [name, harmless] of REFUSED) {
    const value = (body as Record<string, unknown>)[name];
    if (value === undefined || value === null || harmless(value)) continue;
    throw new HttpError(400, "unsupported", `${name}: this server does not support it; leave it out`, name);
  }
  return result.output;
}
