import { Environment, Interpreter, Template } from "@huggingface/jinja";
import { limit, MAX_ITEMS } from "./chat-budget.js";
import { FormatError, isFormatError } from "./format-error.js";

/** One message of a conversation; templates may read further members, such as `tool_calls`. */
export interface ChatMessage {
  role: string;
  content?: unknown;
  [member: string]: unknown;
}

export interface ChatTemplateOptions {
  /** End with the opening of an answer. Default: false. */
  addGenerationPrompt?: boolean;
  /** Descriptions of functions that the model may call, for templates that print them. */
  tools?: readonly unknown[];
  /** More variables for the template. */
  variables?: Readonly<Record<string, unknown>>;
  /** Longest text that a template may make, in UTF-16 units. Default: 4,000,000. */
  maxLength?: number;
  /** Longest time that a template may take. Default: 2,000 ms. */
  timeoutMs?: number;
}

/** A compiled template. */
export type RenderChat = (messages: readonly ChatMessage[], options?: ChatTemplateOptions) => string;

const MAX_TEMPLATE_LENGTH = 200_000;

/**
 * Compiles a chat template (Jinja, as Hugging Face stores it).
 *
 * A template comes from a stranger. It has no access to anything but its variables, and it runs on a budget of time, of
 * text and of list items, checked at each node that is evaluated.
 *
 * @param source The template.
 * @param tokens Special tokens as templates call them, `bos_token` and so on.
 * @param where File name, for messages.
 * @throws FormatError if it cannot be parsed; the compiled function throws one if it fails or exceeds its budget.
 */
export function compileChatTemplate(
  source: string,
  tokens: Readonly<Record<string, string>>,
  where: string,
): RenderChat {
  const refuse = (expected: string, got: string, cause?: unknown): never => {
    throw new FormatError({
      format: "chat template",
      where,
      expected,
      got,
      ...(cause === undefined ? {} : { cause }),
    });
  };
  if (source.length > MAX_TEMPLATE_LENGTH)
    refuse(`at most ${MAX_TEMPLATE_LENGTH} characters`, `${source.length}`);
  // The parser looks at a run of white space once from each of its places.
  if (/\s{2000}/.test(source)) refuse("no run of 2,000 white spaces", "one");
  let program: Template["parsed"];
  try {
    program = new Template(source).parsed;
  } catch (cause) {
    return refuse("a Jinja template", (cause as Error).message, cause);
  }

  return (messages, options = {}) => {
    const {
      addGenerationPrompt = false,
      tools,
      variables = {},
      maxLength = 4_000_000,
      timeoutMs = 2000,
    } = options;
    const environment = new Environment();
    const given = {
      ...globals,
      ...tokens,
      ...(tools === undefined ? {} : { tools }),
      ...variables,
      messages,
      add_generation_prompt: addGenerationPrompt,
    };
    for (const [name, value] of Object.entries(given)) environment.set(name, value);

    const interpreter = new Interpreter(environment);
    limit(interpreter, { maxLength, timeoutMs, refuse });
    try {
      return String(interpreter.run(program).value);
    } catch (cause) {
      if (isFormatError(cause)) throw cause;
      return refuse("a conversation that the template takes", (cause as Error).message, cause);
    }
  };
}

/** What Transformers gives every template. */
const globals = {
  true: true,
  false: false,
  none: null,
  True: true,
  False: false,
  None: null,
  raise_exception(message: unknown): never {
    throw new Error(String(message));
  },
  range(start: number, stop?: number, step = 1): number[] {
    const [from, to] = stop === undefined ? [0, start] : [start, stop];
    const count = Math.ceil((to - from) / step);
    if (step === 0 || !(count <= MAX_ITEMS))
      throw new Error(`range: expected at most ${MAX_ITEMS} items, got ${count}`);
    return Array.from({ length: Math.max(0, count) }, (_, i) => from + i * step);
  },
  strftime_now(format: string): string {
    const now = new Date();
    const two = (value: number) => String(value).padStart(2, "0");
    const parts: Record<string, string> = {
      Y: String(now.getFullYear()),
      m: two(now.getMonth() + 1),
      d: two(now.getDate()),
      H: two(now.getHours()),
      M: two(now.getMinutes()),
      S: two(now.getSeconds()),
      B: now.toLocaleString("en-US", { month: "long" }),
      b: now.toLocaleString("en-US", { month: "short" }),
      A: now.toLocaleString("en-US", { weekday: "long" }),
      a: now.toLocaleString("en-US", { weekday: "short" }),
      "%": "%",
    };
    return format.replace(/%([a-zA-Z%])/g, (whole, key: string) => parts[key] ?? whole);
  },
};
