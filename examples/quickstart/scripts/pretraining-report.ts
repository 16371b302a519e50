/**
 * Draws how the pretraining of the base model went: `model/pretraining.html` from `model/pretraining.json`.
 *
 * Run: `pnpm pretraining-report`.
 */
import { readFileSync } from "node:fs";
import { fileURLToPath } from "node:url";
import { type TrainEvent, writeReport } from "@lowrank/train";

interface Pretraining {
  data: string;
  tokens: { train: number; heldOut: number };
  parameters: number;
  settings: Record<string, unknown> & { steps: number; batch: number; length: number };
  stepsDone: number;
  minutes: number;
  evaluations: { step: number; loss: number; perplexity: number }[];
  curve: { step: number; loss: number; lr: number; norm?: number }[];
}

const model = (name: string): string => fileURLToPath(new URL(`../model/${name}`, import.meta.url));
const record = JSON.parse(readFileSync(model("pretraining.json"), "utf8")) as Pretraining;
const { settings, evaluations } = record;
const tokens = settings.batch * settings.length;
const ms = (record.minutes * 60_000) / record.stepsDone;
const steps = record.curve.map(
  ({ step, loss, lr, norm = Number.NaN }): TrainEvent => ({
    type: "step",
    step,
    steps: settings.steps,
    loss,
    lr,
    gradNorm: norm,
    tokens,
    epoch: 0,
    ms,
    tokensPerSecond: tokens / (ms / 1000),
  }),
);
const scored = evaluations.map(
  ({ step, loss, perplexity }): TrainEvent => ({ type: "eval", step, loss, perplexity, best: true, ms: 0 }),
);
const last = evaluations.at(-1)!;
await writeReport(model("pretraining.html"), {
  title: "Pretraining of the quick start's base model",
  facts: [
    ["data", `${record.data}; ${record.tokens.train.toLocaleString("en")} tokens`],
    ["parameters", record.parameters.toLocaleString("en")],
    [
      "held-out perplexity",
      `${last.perplexity.toFixed(1)} over ${record.tokens.heldOut.toLocaleString("en")} tokens`,
    ],
    [
      "training",
      `${record.stepsDone} steps of ${tokens.toLocaleString("en")} tokens, ${record.minutes} minutes on two busy cores`,
    ],
    [
      "settings",
      Object.entries(settings)
        .map(([k, v]) => `${k} ${JSON.stringify(v)}`)
        .join(", "),
    ],
  ],
  events: [...steps, ...scored],
});
