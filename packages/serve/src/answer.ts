import type { FinishReason } from "@lowrank/models";
import { eventStream } from "./event-stream.js";
import { toHttpError } from "./http-error.js";
import type { TextRun } from "./text-engine.js";
import type { TextRequest } from "./text-request.js";

interface Head {
  readonly id: string;
  readonly created: number;
  readonly model: string;
}

const headOf = (kind: TextRequest["kind"], model: string): Head => ({
  id: `${kind === "chat" ? "chatcmpl" : "cmpl"}-${crypto.randomUUID()}`,
  created: Math.floor(Date.now() / 1000),
  model,
});

const usageOf = ({ promptTokens, tokens }: TextRun): object => ({
  prompt_tokens: promptTokens,
  completion_tokens: tokens,
  total_tokens: promptTokens + tokens,
});

/** The answer in one piece. */
export async function wholeAnswer(run: TextRun, { kind }: TextRequest, model: string): Promise<Response> {
  let text = "";
  const pieces = run.pieces();
  let finish: FinishReason;
  for (;;) {
    const { value, done } = await pieces.next();
    if (done) {
      finish = value;
      break;
    }
    text += value;
  }
  const rest = { index: 0, logprobs: null, finish_reason: finish };
  const chat = kind === "chat";
  return Response.json({
    ...headOf(kind, model),
    object: chat ? "chat.completion" : "text_completion",
    choices: [chat ? { message: { role: "assistant", content: text }, ...rest } : { text, ...rest }],
    usage: usageOf(run),
  });
}

/**
 * The answer as server-sent events while it is made. A reader that leaves, or takes nothing for `stallMs` while something is there,
 * ends the run.
 */
export function streamedAnswer(run: TextRun, request: TextRequest, model: string, stallMs: number): Response {
  const leave = (): void => run.cancel(new Error("the reader has left"));
  return new Response(eventStream(events(run, request, model), { stallMs, leave }), {
    headers: {
      "content-type": "text/event-stream; charset=utf-8",
      "cache-control": "no-cache",
      "x-accel-buffering": "no",
    },
  });
}

async function* events(
  run: TextRun,
  { kind, includeUsage }: TextRequest,
  model: string,
): AsyncGenerator<string> {
  const chat = kind === "chat";
  const head = { ...headOf(kind, model), object: chat ? "chat.completion.chunk" : "text_completion" };
  const chunk = (content: string | null, finish: FinishReason | null, first = false): string => {
    const delta = { ...(first ? { role: "assistant" } : {}), ...(content === null ? {} : { content }) };
    const choice = chat ? { delta } : { text: content ?? "" };
    const choices = [{ index: 0, ...choice, logprobs: null, finish_reason: finish }];
    return JSON.stringify({ ...head, choices, ...(includeUsage ? { usage: null } : {}) });
  };
  if (chat) yield chunk("", null, true);
  try {
    const pieces = run.pieces();
    for (;;) {
      const { value, done } = await pieces.next();
      yield done ? chunk(null, value) : chunk(value, null);
      if (done) break;
    }
  } catch (error) {
    yield JSON.stringify(toHttpError(error).body);
    return;
  }
  if (includeUsage) yield JSON.stringify({ ...head, choices: [], usage: usageOf(run) });
  yield "[DONE]";
}
