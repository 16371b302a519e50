import {
  embed,
  loadSentenceConfig,
  loadTokenizer,
  modelFromPretrained,
  resolveModel,
  writeFileAtomic,
} from "@lowrank/models";
import { command, common, computing } from "../command.js";
import { onDevice } from "../device.js";
import { UsageError } from "../fault.js";
import { modelOperand, precision } from "../model-folder.js";
import { npyBytes } from "../npy.js";
import { integer, operand, text } from "../options.js";
import { count } from "../output.js";
import { loadPlainTexts, readStream, textsOf } from "../plain-texts.js";

export const embedCommand = /* @__PURE__ */ command({
  name: "embed",
  summary: "makes vectors of texts with a sentence model",
  about:
    "Writes one vector for each text, so that texts of like meaning have a large dot product: JSON lines on standard output, or a file for NumPy or of JSON lines with --out. How tokens become one vector is read from the files that sentence-transformers puts beside a model.",
  options: {
    model: modelOperand,
    text: operand(
      text(
        "A text, or - for texts from standard input, one a line or as JSON lines with a text.",
        {},
        { otherwise: "those of --input" },
      ),
    ),
    input: text(
      "File of texts, one a line or as JSON lines with a text.",
      { value: "FILE", expected: "the path of a file" },
      { otherwise: "none" },
    ),
    out: text(
      "File for the vectors: .npy for NumPy, else JSON lines.",
      { value: "FILE", expected: "the path of a file" },
      { otherwise: "standard output" },
    ),
    batch: integer("Texts that are computed at a time.", { min: 1 }, { fallback: 32 }),
    length: integer(
      "Tokens at which texts are cut.",
      { min: 3 },
      { otherwise: "what the model is meant for" },
    ),
    dtype: precision,
    ...computing,
    ...common,
  },
  headings: { input: "Options", dtype: "Machine", config: "General" },
  examples: [
    ["one text", 'lowrank embed models/minilm "Call me Ishmael."'],
    ["a file of texts, for NumPy", "lowrank embed models/minilm --input texts.jsonl --out vectors.npy"],
  ],
  async run(settings, { output, signal, stdin }) {
    const texts = await textsToEmbed(settings, stdin);
    await onDevice(settings, output, async () => {
      const { path } = await resolveModel(settings.model);
      const { dtype } = settings;
      const task = "feature-extraction";
      const model = await modelFromPretrained(path, { task, dtype, resident: true, signal });
      const tokenizer = await loadTokenizer(path);
      const sentence = await loadSentenceConfig(path);
      const began = performance.now();
      const vectors = await embed(model, tokenizer, texts, {
        ...sentence,
        maxLength: settings.length ?? sentence.maxLength,
        batchSize: settings.batch,
        signal,
      });
      const seconds = (performance.now() - began) / 1000;
      const width = model.config.hiddenSize;
      const lines = vectors.map((vector, i) =>
        JSON.stringify({ text: texts[i], vector: Array.from(vector) }),
      );
      if (settings.out === undefined) {
        for (const line of lines) output.stdout.write(`${line}\n`);
        output.note(`${count(texts.length)} texts in ${seconds.toFixed(1)} s`);
        return;
      }
      const npy = /\.npy$/i.test(settings.out);
      await writeFileAtomic(
        settings.out,
        npy ? npyBytes(vectors, width) : lines.map((l) => `${l}\n`).join(""),
      );
      output.record({ type: "embed", out: settings.out, texts: texts.length, width, seconds });
      output.table([
        ["texts", count(texts.length)],
        ["width", count(width)],
        ["vectors", settings.out],
      ]);
    });
  },
});

async function textsToEmbed(
  { text: given, input }: { text: string | undefined; input: string | undefined },
  stdin: Parameters<typeof readStream>[0],
): Promise<string[]> {
  if ((given === undefined) === (input === undefined)) {
    throw new UsageError({
      where: "TEXT",
      expected: "a text, - for standard input, or --input",
      got: given === undefined ? "nothing" : "both",
    });
  }
  if (input !== undefined) return loadPlainTexts(input);
  return given === "-" ? textsOf(await readStream(stdin), "standard input") : [given!];
}
