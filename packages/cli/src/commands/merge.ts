import type { Attached } from "@lowrank/adapters";
import { type CausalLM, savePretrained } from "@lowrank/models";
import { type DType, evaluate } from "@lowrank/tensor";
import { command, common, computing } from "../command.js";
import { onDevice } from "../device.js";
import { companionFiles, loadModel, precision } from "../model-folder.js";
import { operand, path, toggle } from "../options.js";
import { bytes, count } from "../output.js";
import { checkOut } from "../out-folder.js";

export const mergeCommand = /* @__PURE__ */ command({
  name: "merge",
  summary: "makes one model of a model and an adapter",
  about:
    "Adds the adapter's update to the weights it sits on and writes a model folder that needs no adapter, with the tokenizer's files beside it. The folder appears whole or not at all. Rounding the merged weights to 16 bits changes the model a little: how much is measured on the logits and printed.",
  options: {
    model: operand(path("Folder of the model that the adapter was trained on.", "FOLDER")),
    adapter: operand(path("Folder of the adapter in PEFT's form.", "FOLDER")),
    out: path("Folder for the merged model.", "FOLDER"),
    dtype: precision,
    overwrite: toggle("Replace what is in the folder."),
    ...computing,
    ...common,
  },
  headings: { out: "Options", device: "Machine", config: "General" },
  examples: [
    ["in the precision of the base", "lowrank merge models/base runs/first/adapter --out models/adapted"],
    [
      "in single precision, over an earlier one",
      "lowrank merge models/base runs/first/adapter --out models/adapted --dtype f32 --overwrite",
    ],
  ],
  async run(settings, { output, signal }) {
    await checkOut(settings.out, settings.overwrite, "choose another, or replace it with --overwrite");
    await onDevice(settings, output, async () => {
      const { model, attached, input } = await loadModel(settings.model, { ...settings, signal });
      const files = await companionFiles(input);
      if (!files.has("tokenizer.json")) output.warn(`${settings.model} has no tokenizer.json to copy`);
      const layers = attached.layers.length;
      const dtype = settings.dtype === "stored" ? storedType(attached) : settings.dtype;
      const before = await someLogits(model);
      await attached.mergeAndUnload({ dtype });
      const difference = largestDifference(before, await someLogits(model));
      await savePretrained(model, settings.out, { files, replace: true, signal });
      const { total } = model.countParameters();
      const sizeBytes = [...model.state().values()].reduce(
        (sum, p) => sum + p.size * (p.dtype === "f32" ? 4 : 2),
        0,
      );
      output.record({
        type: "merge",
        out: settings.out,
        layers,
        dtype,
        parameters: total,
        logitDifference: difference,
      });
      output.table([
        ["merged", `${layers} layers, in ${dtype}`],
        ["rounding", `logits differ by at most ${difference.toExponential(1)} from model plus adapter`],
        ["model", `${settings.out} (${count(total)} parameters, ${bytes(sizeBytes)})`],
      ]);
    });
  },
});

/** The precision of the weights that the adapter sits on. */
function storedType(attached: Attached<CausalLM>): DType {
  const layers = new Set(attached.layers.map((layer) => `${layer}.weight`));
  for (const [path, p] of attached.model.state()) if (layers.has(path)) return p.dtype;
  return "f32";
}

/** The logits of 16 tokens that are spread over the vocabulary. */
async function someLogits(model: CausalLM): Promise<ArrayLike<number>> {
  const { vocabSize, maxPositions } = model.config;
  const length = Math.min(16, maxPositions);
  const ids = Array.from({ length }, (_, i) => (1 + i * 7919) % vocabSize);
  const logits = model.forward(model.ids([ids])).astype("f32");
  await evaluate(logits);
  return logits.data();
}

function largestDifference(a: ArrayLike<number>, b: ArrayLike<number>): number {
  let largest = 0;
  for (let i = 0; i < a.length; i++) largest = Math.max(largest, Math.abs(a[i]! - b[i]!));
  return largest;
}
