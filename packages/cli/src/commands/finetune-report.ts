import { generate } from "@lowrank/models";
import type { PackedBatch, ReportSample, TrainEvent, TrainResult } from "@lowrank/train";
import { bytes, count, percent } from "../output.js";
import type { Job } from "./finetune.js";
import type { FinetuneSettings } from "./finetune-options.js";

/** What the model writes behind the prompt, without and with the adapter. */
export async function samples(
  settings: FinetuneSettings,
  { model, tokenizer, attached }: Job,
  signal: AbortSignal,
): Promise<ReportSample[]> {
  const { prompt, seed } = settings;
  if (prompt === undefined) return [];
  const write = async (): Promise<string> => {
    const ids: number[] = [];
    const prefix = tokenizer.encode(prompt);
    for await (const id of generate(model, prefix, {
      maxNewTokens: 80,
      temperature: 0.8,
      topK: 40,
      seed,
      signal,
    }))
      ids.push(id);
    return tokenizer.decode(ids).trim();
  };
  attached.disable();
  const before = await write();
  attached.enable();
  return [{ prompt, before, after: await write() }];
}

/** The figures of a run, for programs. The log has those of the parts before a stop too. */
export function numbers(
  events: readonly TrainEvent[],
  { step, reason, tokens }: TrainResult,
  heldOut: readonly PackedBatch[],
) {
  const evals = events.filter((e) => e.type === "eval");
  const stepped = events.filter((e) => e.type === "step");
  const seconds = stepped.reduce((sum, e) => sum + e.ms, 0) / 1000;
  return {
    steps: step,
    reason,
    loss: stepped.at(-1)?.loss ?? null,
    tokens,
    seconds,
    secondsPerStep: seconds / stepped.length,
    heldOutTokens: heldOut.reduce((sum, b) => sum + b.targets, 0),
    perplexityBefore: evals.find((e) => e.step === 0)?.perplexity ?? null,
    perplexityAfter: evals.findLast((e) => e.step > 0)?.perplexity ?? null,
  };
}

/** The figures of a run, for people. */
export function describe(
  events: readonly TrainEvent[],
  result: TrainResult,
  { attached, heldOut }: Job,
  peakBytes: number,
): [string, string][] {
  const { loss, seconds, perplexityBefore, perplexityAfter } = numbers(events, result, heldOut);
  const { trainable, total, share } = attached.report();
  const rows: [string, string][] = [];
  if (perplexityAfter !== null) {
    const before = perplexityBefore === null ? "" : `${perplexityBefore.toFixed(2)} before, `;
    rows.push(["held-out perplexity", `${before}${perplexityAfter.toFixed(2)} after`]);
  }
  rows.push(
    ["trained", `${count(trainable)} of ${count(total)} parameters (${percent(share)})`],
    [
      "training",
      `${result.step} steps, ${seconds.toFixed(1)} s, ${Math.round(result.tokens / seconds)} tokens/s`,
    ],
    ["last loss", loss === null ? "none" : loss.toFixed(4)],
    ["peak memory of tensors", bytes(peakBytes)],
  );
  return rows;
}
