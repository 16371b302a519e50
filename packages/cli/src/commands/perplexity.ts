import { readFile } from "node:fs/promises";
import { loadTokenizer, perplexity, slidingWindows } from "@lowrank/models";
import { command, common, computing } from "../command.js";
import { onDevice } from "../device.js";
import { loading, loadModel, modelOperand, precision } from "../model-folder.js";
import { integer, operand, path } from "../options.js";
import { count } from "../output.js";

export const perplexityCommand = /* @__PURE__ */ command({
  name: "perplexity",
  summary: "measures how well a model predicts one long text",
  about:
    "Prints exp of the mean of -log p over the tokens of the text, lower is better. The text is read through windows that overlap: each token counts once, and all but those of the first window have at least length - stride tokens before them. For many texts, or conversations, see evaluate.",
  options: {
    model: modelOperand,
    text: operand(path("A file of running text in UTF-8.", "FILE")),
    ...loading,
    length: integer(
      "Tokens in a window.",
      { min: 2 },
      { otherwise: "1024, or the model's positions if fewer" },
    ),
    stride: integer(
      "Tokens from one window to the next: fewer give each token more to go by, and take longer.",
      { min: 1 },
      { otherwise: "half the length" },
    ),
    batch: integer("Windows that are computed at a time.", { min: 1 }, { fallback: 1 }),
    dtype: precision,
    ...computing,
    ...common,
  },
  headings: { adapter: "Options", device: "Machine", config: "General" },
  examples: [
    ["a book", "lowrank perplexity models/base book.txt"],
    [
      "with a long view for each token, for a program",
      "lowrank perplexity models/base book.txt --length 2048 --stride 512 --json",
    ],
  ],
  async run(settings, { output, signal }) {
    const text = await readFile(settings.text, "utf8");
    await onDevice(settings, output, async () => {
      const { model, input } = await loadModel(settings.model, { ...settings, signal });
      const tokenizer = await loadTokenizer(input);
      const ids = tokenizer.encode(text);
      const windows = [...slidingWindows(model, ids, settings)];
      const progress = output.progress(windows.length, "reading");
      const began = performance.now();
      let done = 0;
      const result = await perplexity(model, windows, {
        signal,
        lossRows: 512,
        onBatch: (soFar) =>
          progress.show(++done, `perplexity ${Math.exp(soFar.sum / soFar.count).toFixed(2)}`),
      });
      const seconds = (performance.now() - began) / 1000;
      progress.end(`${count(result.count)} tokens in ${seconds.toFixed(1)} s`);
      const { adapter = null } = settings;
      output.record({
        type: "perplexity",
        model: settings.model,
        adapter,
        text: settings.text,
        perplexity: result.perplexity,
        loss: result.loss,
        tokens: result.count,
        windows: windows.length,
        seconds,
      });
      output.table([
        ["perplexity", result.perplexity.toFixed(3)],
        ["loss", `${result.loss.toFixed(4)} nats a token`],
        ["tokens", count(result.count)],
      ]);
    });
  },
});
