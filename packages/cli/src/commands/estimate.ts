import { attach, lora } from "@lowrank/adapters";
import { loadTokenizer, resolveModel } from "@lowrank/models";
import { key } from "@lowrank/tensor";
import { type Estimate, estimate, type GenerateTask, type TrainTask } from "@lowrank/train";
import { command, common, computing } from "../command.js";
import { onDevice } from "../device.js";
import { modelOperand, precision } from "../model-folder.js";
import { choice, integer, text, toggle } from "../options.js";
import { bytes, count } from "../output.js";
import { cacheType } from "../sampling.js";
import { targetsOf } from "./finetune-options.js";

export const estimateCommand = /* @__PURE__ */ command({
  name: "estimate",
  summary: "predicts memory and time of a run on this machine",
  about:
    "Reads config.json and the headers of the weights' files, none of the weights, and runs the program with its numbers left out: what it would allocate is counted, and what it would compute is timed by a measure of this machine, of about a second. For the memory of a GPU the tensors are what counts.",
  options: {
    model: modelOperand,
    task: choice("What is to be done.", ["generate", "finetune"], "generate"),
    prompt: integer("Tokens of the prompt.", { min: 1 }, { fallback: 256 }),
    "max-tokens": integer("Tokens to write.", { min: 1 }, { fallback: 256 }),
    "cache-type": cacheType,
    rank: integer("Rank of the LoRA update.", { min: 1 }, { fallback: 8 }),
    targets: text(
      "Layers to adapt, as finetune takes them.",
      { value: "NAMES", expected: "all-linear, names, or a regular expression" },
      { fallback: "all-linear" },
    ),
    batch: integer("Rows in a batch.", { min: 1 }, { fallback: 8 }),
    length: integer("Tokens in a row.", { min: 2 }, { fallback: 512 }),
    accumulate: integer("Batches that make one step.", { min: 1 }, { fallback: 1 }),
    steps: integer("Optimizer steps.", { min: 1 }, { fallback: 100 }),
    "checkpoint-layers": toggle("Compute each layer again in the backward pass."),
    dtype: precision,
    ...computing,
    ...common,
  },
  headings: {
    task: "Options",
    prompt: "To generate",
    rank: "To finetune",
    dtype: "Machine",
    config: "General",
  },
  examples: [
    ["a long answer to a long prompt", "lowrank estimate models/base --prompt 2000 --max-tokens 1000"],
    [
      "whether an adapter can be trained here",
      "lowrank estimate models/base --task finetune --batch 4 --length 1024 --checkpoint-layers",
    ],
  ],
  async run(settings, { output }) {
    await onDevice(settings, output, async () => {
      const { path } = await resolveModel(settings.model);
      await loadTokenizer(path).catch(() => null); // it is in memory with the model; a file may lack it
      const { dtype } = settings;
      const task = taskOf(settings);
      const found = await estimate(path, task, { dtype });
      output.record({ type: "estimate", model: settings.model, task: settings.task, ...found });
      output.table(rowsOf(found, task));
    });
  },
});

interface TaskSettings {
  readonly task: "generate" | "finetune";
  readonly prompt: number;
  readonly "max-tokens": number;
  readonly "cache-type": "f32" | "f16";
  readonly rank: number;
  readonly targets: string;
  readonly batch: number;
  readonly length: number;
  readonly accumulate: number;
  readonly steps: number;
  readonly "checkpoint-layers": boolean;
  readonly seed: number;
}

function taskOf(settings: TaskSettings): GenerateTask | TrainTask {
  if (settings.task === "generate") {
    const { prompt, "max-tokens": newTokens, "cache-type": cacheDtype } = settings;
    return { kind: "generate", promptTokens: prompt, newTokens, cacheDtype };
  }
  const { rank, seed, batch, length, accumulate, steps } = settings;
  const targets = targetsOf(settings.targets);
  return {
    kind: "train",
    adapt: (model) => attach(model, lora, { rank, alpha: 2 * rank }, { targets, key: key(seed) }),
    batch,
    length,
    accumulate,
    steps,
    checkpointLayers: settings["checkpoint-layers"],
  };
}

function rowsOf(found: Estimate, task: GenerateTask | TrainTask): [string, string][] {
  const { parameters, trainable, weightBytes, tensorBytes, peakBytes, firstSeconds, nextSeconds } = found;
  const share = task.kind === "train" ? `, ${count(trainable)} trained` : "";
  const rows: [string, string][] = [
    ["model", `${count(parameters)} parameters${share}, ${bytes(weightBytes)}`],
    ["memory", `${bytes(peakBytes)} at the highest, of which tensors ${bytes(tensorBytes)}`],
  ];
  if (task.kind === "train") rows.push(["step", `${seconds(nextSeconds)}, ${rate(task, nextSeconds)}`]);
  else
    rows.push(["first token", seconds(firstSeconds)], ["tokens", `${(1 / nextSeconds).toFixed(1)} a second`]);
  return [...rows, ["in all", `${seconds(found.seconds)}, without loading`]];
}

const rate = ({ batch, length, accumulate = 1 }: TrainTask, step: number): string =>
  `${Math.round((batch * length * accumulate) / step)} tokens a second`;

const seconds = (s: number): string =>
  s < 120 ? `${s.toFixed(s < 10 ? 2 : 0)} s` : `${Math.round(s / 60)} min`;
