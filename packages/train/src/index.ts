export {
  type CheckpointStore,
  type FoundCheckpoint,
  findCheckpoint,
  loadCheckpoint,
  type RunTensors,
  saveCheckpoint,
} from "./checkpoint.js";
export { type ClassificationMetrics, classificationMetrics } from "./classification-metrics.js";
export {
  classProbabilities,
  type ClassifyTextsOptions,
  trainClassifier,
  type TrainClassifierOptions,
} from "./classifier.js";
export { type DataPosition, shuffled, TrainingData, type TrainingDataOptions } from "./data.js";
export {
  type Estimate,
  type EstimateOptions,
  estimate,
  type GenerateTask,
  type TrainTask,
} from "./estimate.js";
export type { EndReason, TrainEvent } from "./events.js";
export {
  type ChatRecord,
  checkRecord,
  type DataRecord,
  type Example,
  type ExampleTokenizer,
  IGNORED,
  type PromptRecord,
  parseJsonl,
  type TextRecord,
  toExample,
} from "./example.js";
export {
  type LabelledBatch,
  LabelledData,
  type LabelledDataOptions,
  type LabelledExample,
} from "./labelled-data.js";
export { batchTensors, type PackedBatch, type PackOptions, pack } from "./packing.js";
export { type ReportData, type ReportSample, renderReport, writeReport } from "./report.js";
export { type LogEntry, type LogNote, RunLog } from "./run-log.js";
export type { RunState } from "./run-state.js";
export { train, trainTask } from "./trainer.js";
export type {
  BatchSource,
  TrainBatch,
  TrainLoopOptions,
  TrainOptions,
  TrainResult,
  TrainTaskOptions,
} from "./train-options.js";
