/** What a training run tells while it goes on. */
export type TrainEvent =
  | {
      type: "start";
      /** Step that the run begins after: 0, or where it resumes. */
      step: number;
      steps: number;
      trainable: number;
      total: number;
      batchesPerEpoch: number;
    }
  | {
      type: "step";
      step: number;
      steps: number;
      /** Mean of −log p over the labels of the step, in nats. */
      loss: number;
      lr: number;
      /** Norm of all gradients before clipping. */
      gradNorm: number;
      /** Tokens of texts in this step. */
      tokens: number;
      epoch: number;
      ms: number;
      tokensPerSecond: number;
    }
  | { type: "eval"; step: number; loss: number; perplexity: number; best: boolean; ms: number }
  | { type: "save"; step: number; path: string; ms: number }
  | { type: "resume"; step: number; path: string }
  | { type: "warning"; message: string }
  | { type: "end"; step: number; reason: EndReason; ms: number };

/** Why a run ended: all steps done, held-out loss no longer falling, or stopped by its signal. */
export type EndReason = "done" | "early-stop" | "aborted";
