import { loadGgufLora, loadPeft, saveGgufLora, savePeft } from "@lowrank/adapters";
import { type GgufWritableType, saveGguf, savePretrained } from "@lowrank/models";
import { ConfigError, type DType } from "@lowrank/tensor";
import { command, common, computing } from "../command.js";
import { onDevice } from "../device.js";
import { UsageError } from "../fault.js";
import { companionFiles, loadModel, modelOperand } from "../model-folder.js";
import { choice, integer, path, text, toggle } from "../options.js";
import { count } from "../output.js";
import { checkOut, occupied } from "../out-folder.js";

const TYPES = ["stored", "f32", "f16", "bf16", "q8_0", "q4_0"] as const;
type Type = (typeof TYPES)[number];

const isGguf = (name: string): boolean => /\.gguf$/i.test(name);

export const convertCommand = /* @__PURE__ */ command({
  name: "convert",
  summary: "writes a model or an adapter in another form, such as GGUF",
  about:
    "The form follows from the name of --out: a file that ends in .gguf, or else a folder. The tokenizer goes with the model. With --adapter the adapter is converted and the model, which says what its layers are, is left as it is: from PEFT's form to GGUF, or back. What is written appears whole or not at all.",
  options: {
    model: modelOperand,
    out: path("A file that ends in .gguf, or a folder.", "PATH"),
    type: choice(
      "How matrices are stored; stored leaves them as they are, and is f16 in a GGUF file. q8_0 and q4_0 are for GGUF.",
      TYPES,
      "stored",
    ),
    adapter: text(
      "Convert this adapter of the model: a folder in PEFT's form, or a LoRA in GGUF.",
      { value: "PATH", expected: "the path of a folder or file" },
      { otherwise: "none, the model is converted" },
    ),
    "shard-size": integer(
      "Largest file of weights in a folder, in MB (10⁶ bytes).",
      { min: 1 },
      { fallback: 5000 },
    ),
    overwrite: toggle("Replace what is at --out."),
    ...computing,
    ...common,
  },
  headings: { out: "Options", device: "Machine", config: "General" },
  examples: [
    ["for llama.cpp, in blocks of 8 bits", "lowrank convert models/base --out base-q8_0.gguf --type q8_0"],
    ["from GGUF to a folder in half precision", "lowrank convert base.gguf --out models/base --type f16"],
    [
      "an adapter for llama.cpp",
      "lowrank convert models/base --adapter runs/first/adapter --out adapter.gguf",
    ],
  ],
  async run(settings, { output, signal }) {
    const { out, adapter, type, overwrite } = settings;
    const dtype = dtypeOf(type);
    if (!isGguf(out) && type !== "stored" && dtype === undefined) {
      throw new UsageError({ where: "--type", expected: "f32, f16 or bf16 for a folder", got: type });
    }
    if (adapter !== undefined && isGguf(adapter) === isGguf(out)) {
      const form = isGguf(out) ? "a folder in PEFT's form" : "a LoRA in GGUF";
      throw new UsageError({ where: "--adapter", expected: `${form} for this --out`, got: adapter });
    }
    await checkFree(out, overwrite);
    await onDevice(settings, output, async () => {
      const { model, input } = await loadModel(settings.model, { dtype: "stored", signal });
      let what = "model";
      if (adapter !== undefined) {
        what = "adapter";
        if (isGguf(out)) {
          const attached = await loadPeft(model, adapter);
          await saveGgufLora(attached, out, { dtype: type === "f16" ? "f16" : "f32", signal });
        } else {
          const attached = await loadGgufLora(model, adapter);
          await savePeft(attached, out, { baseModel: settings.model, replace: true, signal });
        }
      } else if (isGguf(out)) {
        await saveGguf(model, out, { type: ggufType(type), tokenizer: input, signal });
      } else {
        await savePretrained(model, out, {
          ...(dtype === undefined ? {} : { dtype }),
          maxShardBytes: settings["shard-size"] * 1e6,
          files: await companionFiles(input),
          replace: true,
          signal,
        });
      }
      const parameters = model.countParameters().total;
      output.record({ type: "convert", what, out, stored: type, parameters });
      output.table([
        ["written", `${what} to ${out}`],
        ["stored as", type === "stored" && isGguf(out) && adapter === undefined ? "f16" : type],
        ["parameters", count(parameters)],
      ]);
    });
  },
});

const dtypeOf = (type: Type): DType | undefined =>
  type === "f32" || type === "f16" || type === "bf16" ? type : undefined;

const ggufType = (type: Type): GgufWritableType =>
  type === "stored" ? "F16" : (type.toUpperCase() as GgufWritableType);

/** A folder takes no place of a file, and a file none of a folder. */
async function checkFree(out: string, overwrite: boolean): Promise<void> {
  const hint = "choose another, or replace it with --overwrite";
  if (!isGguf(out)) return checkOut(out, overwrite, hint);
  const held = await occupied(out);
  if (held === "nothing" || (held === "other" && overwrite)) return;
  const got = held === "other" ? "a file" : "a folder";
  throw new ConfigError({ where: out, expected: "a free name", got, hint });
}
