export { AdamW } from "./adamw.js";
export { clipByGlobalNorm, globalNorm } from "./clip.js";
export { noDecay, Optimizer } from "./optimizer.js";
export { constantSchedule, cosineSchedule, linearSchedule } from "./schedule.js";
export { SGD } from "./sgd.js";
export { nearestOrthogonal, StiefelAdam } from "./stiefel-adam.js";

export type { AdamWOptions } from "./adamw.js";
export type {
  OptimizerOptions,
  OptimizerState,
  ParameterGroup,
  StepOptions,
  UpdateInput,
  UpdateOutput,
  Updater,
} from "./optimizer.js";
export type { DecayOptions, Schedule } from "./schedule.js";
export type { SGDOptions } from "./sgd.js";
export type { StiefelAdamOptions } from "./stiefel-adam.js";
