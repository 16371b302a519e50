import type { Readable } from "node:stream";
import { type ChatMessage, chatIds, generate, GrowingText, loadTokenizer, promptIds } from "@lowrank/models";
import { command, common, computing } from "../command.js";
import { onDevice } from "../device.js";
import { UsageError } from "../fault.js";
import { loading, loadModel, precision } from "../model-folder.js";
import { integer, operand, path, real, text, toggle } from "../options.js";

export const generateCommand = /* @__PURE__ */ command({
  name: "generate",
  summary: "continues a text, or answers a message",
  about:
    "Writes to standard output while it goes on. The next token is drawn from the model's probabilities: temperature makes them sharper (below 1) or flatter (above 1), top-k, top-p and min-p leave unlikely tokens out, greedy always takes the likeliest.",
  options: {
    model: operand(path("Folder of the model: config.json, model.safetensors, tokenizer.json.", "FOLDER")),
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
    "max-tokens": integer("Tokens to write at most.", { min: 1 }, { fallback: 256 }),
    stop: text("Ends before this text.", {}, { otherwise: "none" }),
    temperature: real("Divides the logits; 0 takes the likeliest token.", { min: 0 }, { fallback: 0.8 }),
    "top-k": integer("Draw from the N likeliest tokens only.", { min: 1 }, { otherwise: "all" }),
    "top-p": real(
      "Draw from the likeliest tokens that together have this probability.",
      { min: 0, max: 1 },
      { otherwise: "all" },
    ),
    "min-p": real(
      "Leave out tokens below this share of the likeliest one's probability.",
      { min: 0, max: 1 },
      { otherwise: "none left out" },
    ),
    "repetition-penalty": real(
      "Makes tokens that have come before less likely; 1 leaves them.",
      { min: 0.01 },
      { fallback: 1 },
    ),
    greedy: toggle("Always take the likeliest token."),
    dtype: precision,
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
      const { model } = await loadModel(settings.model, { ...settings, signal });
      const tokenizer = await loadTokenizer(settings.model);
      const given = await promptText(settings.prompt, stdin);
      const prompt = settings.chat
        ? chatIds(tokenizer, messages(given, settings.system))
        : promptIds(model, tokenizer, given);
      const growing = new GrowingText(tokenizer, prompt, settings.stop);
      const tokens = generate(model, prompt, {
        maxNewTokens: settings["max-tokens"],
        ...(settings.temperature === 0 ? {} : { temperature: settings.temperature }),
        topK: settings["top-k"],
        topP: settings["top-p"],
        minP: settings["min-p"],
        repetitionPenalty: settings["repetition-penalty"],
        greedy: settings.greedy || settings.temperature === 0,
        seed: settings.seed,
        signal,
        stopWhen: () => growing.stopped,
      });
      const began = performance.now();
      let made = 0;
      for (;;) {
        const { value, done } = await tokens.next();
        if (done) {
          const seconds = (performance.now() - began) / 1000;
          output.piece(`${growing.end()}\n`);
          const reason = growing.stopped ? "stop" : value;
          output.record({
            type: "end",
            text: growing.text,
            tokens: made,
            promptTokens: prompt.length,
            reason,
            seconds,
          });
          return;
        }
        made++;
        const piece = growing.add(value);
        output.piece(piece);
        output.record({ type: "token", id: value, text: piece });
      }
    });
  },
});

async function promptText(given: string | undefined, stdin: Readable): Promise<string> {
  if (given !== "-") return given ?? "";
  const parts: Buffer[] = [];
  for await (const part of stdin) parts.push(Buffer.from(part));
  return Buffer.concat(parts).toString("utf8");
}

const messages = (prompt: string, system: string | undefined): ChatMessage[] => [
  ...(system === undefined ? [] : [{ role: "system", content: system }]),
  { role: "user", content: prompt },
];
