import { fileURLToPath } from "node:url";
import { loadTokenizer, type Tokenizer } from "@lowrank/models";
import { beforeAll, expect, test } from "vitest";
import { IGNORED, parseJsonl, toExample } from "./example.js";

const model = fileURLToPath(new URL("../../../examples/quickstart/model", import.meta.url));
const chatTemplate =
  "{% for m in messages %}{{ '[' + m.role + '] ' + m.content + eos_token + '\\n' }}{% endfor %}" +
  "{% if add_generation_prompt %}{{ '[assistant] ' }}{% endif %}";

let tokenizer: Tokenizer;
beforeAll(async () => {
  tokenizer = await loadTokenizer(model, { chatTemplate });
});

/** Text of the tokens that are learnt, and of those that are only given. */
function parts({ ids, labels }: ReturnType<typeof toExample>): { learnt: string; given: string } {
  const decode = (keep: (label: number) => boolean) =>
    tokenizer.decode(
      ids.filter((_, t) => keep(labels[t]!)),
      { skipSpecialTokens: false },
    );
  for (const [t, label] of labels.entries()) if (label !== IGNORED) expect(label).toBe(ids[t]);
  return { learnt: decode((l) => l !== IGNORED), given: decode((l) => l === IGNORED) };
}

test("a text is learnt whole, between the tokens that open and close it", () => {
  const example = toExample({ text: "Call me Ishmael." }, tokenizer);
  expect(parts(example)).toEqual({ learnt: "<|bos|>Call me Ishmael.<|eos|>", given: "" });
});

test("of a prompt with completion only the completion is learnt", () => {
  const example = toExample({ prompt: "The whale is", completion: " white" }, tokenizer);
  expect(parts(example)).toEqual({ learnt: " white<|eos|>", given: "<|bos|>The whale is" });
});

test("of a conversation only what the assistant says is learnt, in the words of the chat template", () => {
  const messages = [
    { role: "system", content: "Be brief." },
    { role: "user", content: "Who are you?" },
    { role: "assistant", content: "A whaler." },
    { role: "user", content: "Where to?" },
    { role: "assistant", content: "The Pacific." },
    { role: "user", content: "Farewell." },
  ];
  const example = toExample({ messages }, tokenizer);
  const text = tokenizer.decode([...example.ids], { skipSpecialTokens: false });
  expect(text).toBe(tokenizer.applyChatTemplate(messages));
  expect(parts(example)).toEqual({
    learnt: "A whaler.<|eos|>\nThe Pacific.<|eos|>\n",
    given:
      "[system] Be brief.<|eos|>\n[user] Who are you?<|eos|>\n[assistant] " +
      "[user] Where to?<|eos|>\n[assistant] [user] Farewell.<|eos|>\n",
  });
});

test("a chat template that changes what came before is refused", () => {
  const rewriting = {
    ...tokenizer,
    encode: tokenizer.encode.bind(tokenizer),
    applyChatTemplate: (messages: readonly { content: string }[]) => `${messages.length} messages`,
  };
  const messages = [
    { role: "user", content: "a" },
    { role: "assistant", content: "b" },
  ];
  expect(() => toExample({ messages }, rewriting)).toThrow(
    /message 1: expected a template whose text only grows/,
  );
});

test("reads all forms, skipping empty lines", () => {
  const lines = [
    '{"text": "a"}',
    "",
    '{"prompt": "b", "completion": "c"}\r',
    '{"messages": [{"role": "user", "content": "d"}]}',
  ];
  expect(parseJsonl(lines.join("\n"), "data.jsonl")).toEqual([
    { text: "a" },
    { prompt: "b", completion: "c" },
    { messages: [{ role: "user", content: "d" }] },
  ]);
});

test.each([
  ["{", /data.jsonl, line 2: expected JSON, got \{/],
  ["[1]", /line 2: expected an object with "text", .* got \[1\]/],
  ["null", /line 2: expected an object .* got null/],
  ['{"txt": "a"}', /line 2: expected an object .* got members txt/],
  ['{"text": 3}', /line 2: expected "text" to be a text, got 3/],
  ['{"prompt": "a"}', /line 2: expected "completion" to be a text, got nothing/],
  ['{"messages": [{"role": "user"}]}', /line 2, message 0: expected "role" and "content", both texts/],
  ['{"messages": "hello"}', /line 2: expected an object/],
])("names the line of %s", (line, message) => {
  expect(() => parseJsonl(`{"text": "fine"}\n${line}\n`, "data.jsonl")).toThrow(message);
});

test("a file without records is refused", () => {
  expect(() => parseJsonl("\n \n", "data.jsonl")).toThrow(
    /data.jsonl: expected at least one record, got none/,
  );
});
