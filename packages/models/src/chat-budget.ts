import type { Interpreter } from "@huggingface/jinja";

/** Of a list that a template builds or goes through, and of a value that it prints or compares, all that is in it counted. */
export const MAX_ITEMS = 100_000;

export interface ChatBudget {
  /** Longest text, in UTF-16 units. */
  maxLength: number;
  timeoutMs: number;
  refuse: (expected: string, got: string) => never;
}

/** Nodes that take a list or object as it is, without going through all that is in it. */
const LOOK_ONLY = new Set([
  "ArrayLiteral",
  "CallExpression",
  "For",
  "KeywordArgumentExpression",
  "MemberExpression",
  "ObjectLiteral",
  "Set",
  "TupleLiteral",
]);

interface Value {
  readonly type: string;
  readonly value: unknown;
}

/**
 * Puts the evaluation of a template on a budget. The clock is read at every node: one of them can go through a list of
 * {@link MAX_ITEMS} and no more, so none takes long. A value is weighed with all that is in it, counted as often as it
 * stands there, before a node goes through it: thirty lists of the one before twice are few in memory and 2³⁰ in print.
 */
export function limit(interpreter: Interpreter, { maxLength, timeoutMs, refuse }: ChatBudget): void {
  const deadline = performance.now() + timeoutMs;
  const evaluate = interpreter.evaluate.bind(interpreter);
  const parents: string[] = [];

  const weigh = (start: Value): void => {
    const open: unknown[] = [start];
    let items = 0;
    let length = 0;
    for (let value = open.pop() as Value | undefined; value !== undefined; value = open.pop() as Value) {
      if (++items > MAX_ITEMS) refuse(`values of at most ${MAX_ITEMS} items`, "more");
      const { value: content } = value;
      if (typeof content === "string") length += content.length;
      else if (Array.isArray(content)) for (const item of content) open.push(item);
      else if (content instanceof Map) {
        for (const [key, member] of content as Map<unknown, unknown>) {
          if (typeof key === "string") length += key.length;
          open.push(member);
        }
      }
      if (length > maxLength) refuse(`at most ${maxLength} characters`, "more");
      // Lists of one long list: no more is laid out than is refused.
      if (open.length > 2 * MAX_ITEMS) refuse(`values of at most ${MAX_ITEMS} items`, "more");
    }
  };

  interpreter.evaluate = (node, scope) => {
    if (performance.now() > deadline) refuse(`an end within ${timeoutMs} ms`, "none");
    const parent = parents.at(-1) ?? "";
    parents.push(node?.type ?? "");
    let result: ReturnType<typeof evaluate>;
    try {
      result = evaluate(node, scope);
    } finally {
      parents.pop();
    }
    const { value } = result as Value;
    if (typeof value === "string" && value.length > maxLength)
      refuse(`at most ${maxLength} characters`, "more");
    if (Array.isArray(value) && value.length > MAX_ITEMS)
      refuse(`lists of at most ${MAX_ITEMS} items`, "more");
    if ((Array.isArray(value) || value instanceof Map) && !LOOK_ONLY.has(parent)) weigh(result as Value);
    return result;
  };
}
