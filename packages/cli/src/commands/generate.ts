import {
  type ChatMessage,
  chatIds,
  endTokens,
  type GeneratedToken,
  generate,
  GrowingText,
  loadTokenizer,
  promptIds,
} from "@lowrank/models";
import { command, common, computing } from "../command.js";
import { onDevice } from "../device.js";
import { UsageError } from "../fault.js";
import { loading, loadModel, modelOperand, precision } from "../model-folder.js";
import { integer, operand, text, toggle } from "../options.js";
import { readStream } from "../plain-texts.js";
import { Rate } from "../rate.js";
import { cacheType, sampling, textOptions } from "../sampling.js";

export const generateCommand = /* @__PURE__ */ command({
  name: "generate",
  summary: "continues a text, or answers a message",
  about:
    "Writes to standard output while it goes on. The next token is drawn from the model's probabilities: temperature makes them sharper (below 1) or flatter (above 1), top-k, top-p and min-p leave unlikely tokens out, greedy always takes the likeliest.",
  options: {
    model: modelOperand,
    prompt: operand(
      text(
        "The text to continue, or - to read it from standard input.",
        {},
        { otherwise: "the model begins by itself" },
      ),
    ),
    ...loading,
    chat: toggle("Take the prompt as a user's message and put it into the model's chat template."),
    system: text("With --chat, a message before it that says how to answer.", {}, { otherwise: "none" }),
    ...sampling,
    logprobs: integer(
      "With --json, tell log p of each token and of the N likeliest at its place.",
      { min: 0, max: 100 },
      { otherwise: "not told" },
    ),
    dtype: precision,
    "cache-type": cacheType,
    ...computing,
    ...common,
  },
  headings: { adapter: "Options", temperature: "Sampling", dtype: "Machine", config: "General" },
  examples: [
    [
      "continue a text with an adapter on the model",
      'lowrank generate models/base "Call me" --adapter runs/first/adapter',
    ],
    [
      "answer a message, the same every time",
      'lowrank generate models/chat "Who was Ishmael?" --chat --greedy',
    ],
  ],
  async run(settings, { output, signal, stdin }) {
    if (!settings.chat && settings.system !== undefined)
      throw new UsageError({ where: "--system", expected: "--chat with it", got: "--system alone" });
    await onDevice(settings, output, async () => {
      const { model, input } = await loadModel(settings.model, { ...settings, signal });
      const tokenizer = await loadTokenizer(input);
      const given = settings.prompt === "-" ? await readStream(stdin) : (settings.prompt ?? "");
      const prompt = settings.chat
        ? chatIds(tokenizer, messages(given, settings.system))
        : promptIds(model, tokenizer, given);
      const { stop, ...options } = textOptions(settings, signal);
      const growing = new GrowingText(tokenizer, prompt, stop);
      let told: GeneratedToken | undefined;
      const tokens = generate(model, prompt, {
        ...options,
        stopIds: endTokens(model, tokenizer),
        cacheDtype: settings["cache-type"],
        logprobs: settings.logprobs,
        onToken: (token) => {
          told = token;
        },
        stopWhen: () => growing.stopped,
      });
      const rate = new Rate();
      let made = 0;
      for (;;) {
        const { value, done } = await tokens.next();
        if (done) {
          output.piece(`${growing.end()}\n`);
          output.record({
            type: "end",
            text: growing.text,
            tokens: made,
            promptTokens: prompt.length,
            reason: growing.stopped ? "stop" : value,
            ...rate.end(prompt.length),
          });
          return;
        }
        rate.token();
        made++;
        const piece = growing.add(value);
        output.piece(piece);
        output.record({ type: "token", id: value, text: piece, ...logprobsOf(told) });
      }
    });
  },
});

const logprobsOf = (token: GeneratedToken | undefined): object =>
  token === undefined ? {} : { logprob: token.logprob, top: token.top };

const messages = (prompt: string, system: string | undefined): ChatMessage[] => [
  ...(system === undefined ? [] : [{ role: "system", content: system }]),
  { role: "user", content: prompt },
];
