import type { CausalLM } from "@lowrank/models";
import type { Module } from "@lowrank/nn";
import type { Updater } from "@lowrank/optim";
import type { Tensor } from "@lowrank/tensor";
import type { CheckpointStore } from "./checkpoint.js";
import type { DataPosition, TrainingData } from "./data.js";
import type { EndReason, TrainEvent } from "./events.js";
import type { PackedBatch } from "./packing.js";

/** What a batch tells of itself. */
export interface TrainBatch {
  /** Labels that are learnt, at least 1. */
  readonly targets: number;
  /** Tokens of texts. */
  readonly tokens: number;
}

/** Batches without end, and where in them a run stands. */
export interface BatchSource<B extends TrainBatch> {
  next(): B;
  position: DataPosition;
  /** Batches in one pass. */
  readonly batchesPerEpoch: number;
  /** Changes with the data and the sizes of a batch. */
  readonly fingerprint: string;
}

/** A model, data and a loss between them. */
export interface TrainTaskOptions<B extends TrainBatch> extends TrainLoopOptions {
  /** The model; what is trainable in it is trained. */
  model: Module;
  data: BatchSource<B>;
  /** Sum of the losses over the targets of a batch, a number in the graph. */
  loss: (batch: B) => Tensor;
  /** Mean loss on what is held out, every so many steps and at the end. */
  evaluate?: { loss: () => Promise<number>; every: number };
}

export interface TrainOptions extends TrainLoopOptions {
  /** The model; what is trainable in it is trained. */
  model: CausalLM;
  data: TrainingData;
  /** Computes each layer again in the backward pass instead of keeping what is inside it. Default false. */
  checkpointLayers?: boolean;
  /** Rows of logits that exist at a time. Default: as many as make 2²⁵ logits. */
  lossRows?: number;
  /** Held-out batches, scored every so many steps and at the end. */
  evaluate?: { batches: readonly PackedBatch[]; every: number };
}

/** How any task is trained. */
export interface TrainLoopOptions {
  /** An optimizer, or what stands in its place. */
  optimizer: Updater;
  /** Optimizer steps in all, those before a resume included. */
  steps: number;
  /** Batches whose gradients make one step. Default 1. */
  accumulate?: number;
  /** Gradients are scaled down to this norm. Default 1; null leaves them. */
  clipNorm?: number | null;
  /** Ends the run when so many evaluations in a row have not lowered the held-out loss. */
  earlyStop?: { patience: number };
  /**
   * Checkpoints every so many steps, at the end, and when the signal stops the run. A new run needs a folder without
   * checkpoints.
   */
  save?: CheckpointStore & { every: number };
  /** Go on from the newest whole checkpoint in `save.folder`, if there is one. Default false. */
  resume?: boolean;
  /** Random numbers of dropout. Default 0. */
  seed?: number;
  /** Stops the run after the batch under way; what is saved then is the last whole step. */
  signal?: AbortSignal;
  onEvent?: (event: TrainEvent) => void;
  /** Appends every event to this file, one JSON object a line; a resumed run goes on in it. See {@link RunLog}. */
  logFile?: string;
}

export interface TrainResult {
  step: number;
  reason: EndReason;
  /** Mean loss of the last step. */
  loss: number;
  bestLoss: number | null;
  /** Milliseconds in steps, without evaluation and saving. */
  stepMs: number;
  tokens: number;
}
