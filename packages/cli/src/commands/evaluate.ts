import { loadTokenizer, perplexity } from "@lowrank/models";
import { batchTensors, pack } from "@lowrank/train";
import { command, common, computing } from "../command.js";
import { onDevice } from "../device.js";
import { loading, loadModel, modelOperand, precision, rowLength } from "../model-folder.js";
import { integer, operand, path } from "../options.js";
import { count } from "../output.js";
import { loadTexts, longer } from "../texts.js";

export const evaluateCommand = /* @__PURE__ */ command({
  name: "evaluate",
  summary: "measures how well a model, or a model with an adapter, predicts texts",
  about:
    "Prints the perplexity: exp of the mean of -log p over the tokens of the texts, lower is better; 1 would be a model that knows every next token. Of records with prompt and completion only completions count, of conversations only what the assistant says.",
  options: {
    model: modelOperand,
    data: operand(path("Texts: .jsonl with text, prompt and completion, or messages; or .txt.", "FILE")),
    ...loading,
    length: integer(
      "Tokens in a row; longer texts are cut there.",
      { min: 2 },
      { otherwise: "512, or the model's positions if fewer" },
    ),
    batch: integer("Rows that are computed at a time.", { min: 1 }, { fallback: 8 }),
    dtype: precision,
    ...computing,
    ...common,
  },
  headings: { adapter: "Options", device: "Machine", config: "General" },
  examples: [
    ["the model alone", "lowrank evaluate models/base held-out.jsonl"],
    [
      "the model with an adapter, for a program",
      "lowrank evaluate models/base held-out.jsonl --adapter runs/first/adapter --json",
    ],
  ],
  async run(settings, { output, signal }) {
    await onDevice(settings, output, async () => {
      const { model, input } = await loadModel(settings.model, { ...settings, signal });
      const tokenizer = await loadTokenizer(input);
      const length = rowLength(model, settings.length);
      const { examples } = await loadTexts(settings.data, tokenizer, model, length);
      const cut = longer(examples, length);
      if (cut > 0)
        output.warn(`${cut} of ${examples.length} texts are longer than --length ${length} and are cut`);
      const batches = pack(examples, { length, batch: settings.batch });
      const progress = output.progress(batches.length, "evaluating");
      let done = 0;
      const began = performance.now();
      const {
        loss,
        perplexity: value,
        count: tokens,
      } = await perplexity(model, batches.map(batchTensors), {
        signal,
        onBatch: (soFar) =>
          progress.show(++done, `perplexity ${Math.exp(soFar.sum / soFar.count).toFixed(2)}`),
      });
      const seconds = (performance.now() - began) / 1000;
      progress.end(`${count(tokens)} tokens in ${seconds.toFixed(1)} s`);
      const { data, adapter = null } = settings;
      output.record({
        type: "evaluation",
        model: settings.model,
        adapter,
        data,
        perplexity: value,
        loss,
        tokens,
        seconds,
      });
      output.table([
        ["perplexity", value.toFixed(3)],
        ["loss", `${loss.toFixed(4)} nats a token`],
        ["tokens", count(tokens)],
        ["texts", count(examples.length)],
      ]);
    });
  },
});
