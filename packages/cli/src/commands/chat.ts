import { createInterface } from "node:readline";
import {
  type ChatMessage,
  chatIds,
  GenerationContext,
  loadTokenizer,
  streamText,
  type Tokenizer,
} from "@lowrank/models";
import { ConfigError } from "@lowrank/tensor";
import { command, common, computing, type Session } from "../command.js";
import { onDevice } from "../device.js";
import { Interrupted } from "../fault.js";
import { loading, loadModel, modelOperand, precision } from "../model-folder.js";
import { text } from "../options.js";
import { Rate } from "../rate.js";
import { cacheType, sampling, textOptions } from "../sampling.js";

const HELP = "/reset begins anew, /system TEXT says how to answer and begins anew, /exit or Ctrl-D ends";

export const chatCommand = /* @__PURE__ */ command({
  name: "chat",
  summary: "talks with a model, turn by turn",
  about:
    "Reads messages from standard input, one a line, and writes the answers to standard output while they are made. Each turn reads only what is new since the one before. Lines that begin with / are commands: /reset begins anew, /system TEXT says how to answer, /exit ends. When a conversation has outgrown the model's positions, its oldest turns are forgotten.",
  options: {
    model: modelOperand,
    ...loading,
    system: text("A message before all that says how to answer.", {}, { otherwise: "what the template has" }),
    ...sampling,
    dtype: precision,
    "cache-type": cacheType,
    ...computing,
    ...common,
  },
  headings: { adapter: "Options", temperature: "Sampling", dtype: "Machine", config: "General" },
  examples: [
    ["talk with a model", "lowrank chat models/chat"],
    [
      "the answers to a file of questions, each with those before it, for a program",
      "lowrank chat models/chat --greedy --json < questions.txt",
    ],
  ],
  async run(settings, { output, signal, stdin }) {
    await onDevice(settings, output, async () => {
      const { model, input } = await loadModel(settings.model, { ...settings, signal });
      const tokenizer = await loadTokenizer(input);
      if (!tokenizer.hasChatTemplate) tokenizer.applyChatTemplate([]); // says what is missing
      const context = new GenerationContext(model, { dtype: settings["cache-type"] });
      const options = { ...textOptions(settings, signal), context };
      let messages = opening(settings.system);
      const terminal = (stdin as { isTTY?: boolean }).isTTY === true;
      if (terminal) output.note(HELP);
      for await (const line of linesOf(stdin, signal, () => terminal && output.stderr.write("> "))) {
        const said = line.trim();
        const [word, ...rest] = said.split(/\s+/);
        if (said === "") continue;
        if (word === "/exit" || word === "/quit") return;
        if (word === "/reset" || word === "/system") {
          messages = opening(word === "/system" ? rest.join(" ") : settings.system);
          output.note("a new conversation");
          output.record({ type: "reset" });
        } else if (said.startsWith("/")) output.note(HELP);
        else {
          messages.push({ role: "user", content: said });
          messages = fitting(messages, tokenizer, model.config.maxPositions, output);
          const prompt = chatIds(tokenizer, messages);
          const reused = sharedLength(context.ids, prompt);
          const rate = new Rate();
          const run = streamText(model, tokenizer, prompt, {
            ...options,
            logprobs: 0,
            onToken: () => rate.token(),
          });
          for (;;) {
            const { value, done } = await run.next();
            if (!done) {
              output.piece(value);
              output.record({ type: "text", text: value });
              continue;
            }
            output.piece("\n");
            const { ids, reason, promptTokens } = value;
            output.record({
              type: "message",
              role: "assistant",
              content: value.text,
              tokens: ids.length,
              promptTokens,
              reusedTokens: reused,
              reason,
              ...rate.end(promptTokens - reused),
            });
            messages.push({ role: "assistant", content: value.text });
            break;
          }
        }
      }
      if (signal.aborted) throw new Interrupted();
    });
  },
});

const opening = (system: string | undefined): ChatMessage[] =>
  system === undefined || system === "" ? [] : [{ role: "system", content: system }];

/** Lines as they come; ends with the signal. `ask` is called before each is waited for. */
async function* linesOf(
  input: Session["stdin"],
  signal: AbortSignal,
  ask: () => void,
): AsyncGenerator<string> {
  // Not as a terminal: so Ctrl-C stays a signal, and editing is the terminal's own.
  const lines = createInterface({ input, signal, terminal: false });
  try {
    ask();
    for await (const line of lines) {
      yield line;
      if (signal.aborted) return;
      ask();
    }
  } finally {
    lines.close();
  }
}

/** The conversation without its oldest turns, so that it leaves room for an answer. */
function fitting(
  messages: readonly ChatMessage[],
  tokenizer: Tokenizer,
  positions: number,
  output: Session["output"],
): ChatMessage[] {
  const left = [...messages];
  const length = (): number => chatIds(tokenizer, left).length;
  const first = left[0]!.role === "system" ? 1 : 0;
  const room = positions - Math.min(64, Math.floor(positions / 4));
  let forgotten = 0;
  while (length() > room && left.length > first + 1) {
    left.splice(first, left[first + 1]?.role === "assistant" ? 2 : 1);
    forgotten++;
  }
  if (length() >= positions) {
    throw new ConfigError({
      where: "chat",
      expected: `a message shorter than the model's ${positions} positions`,
      got: `${length()} tokens`,
    });
  }
  if (forgotten > 0)
    output.warn(`the oldest ${forgotten} turns are forgotten: the model has ${positions} positions`);
  return left;
}

function sharedLength(held: readonly number[], prompt: readonly number[]): number {
  let n = 0;
  while (n < held.length && n < prompt.length - 1 && held[n] === prompt[n]) n++;
  return n;
}
