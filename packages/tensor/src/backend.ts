/** What the author of a backend needs: the contract, the scheduler, and what groups are made of. */
export { withCompanion } from "./companion.js";
export type { Backend, BackendMemory, Bindings, DeviceBuffer, Executable } from "./device.js";
export {
  type DType,
  decodeHost,
  dtypeBytes,
  dtypeId,
  encodeHost,
  type HostArray,
  hostArray,
  hostView,
  isFloat,
  roundTo,
} from "./dtype.js";
export { bug, ConfigError, DeviceError, DTypeError, LowrankError, ShapeError } from "./errors.js";
export type { Graph, GraphRoot } from "./graph.js";
export { Node } from "./node.js";
export { type Cost, costOf, groupName } from "./profile/cost.js";
export { type ChromeTrace, type ChromeTraceEvent, chromeTrace, formatProfile } from "./profile/format.js";
export { Profile, type ProfileRow, type ProfileSpan, type ProfileTimeline } from "./profile/profile.js";
export type { Aval, OpDef, RefArray } from "./op.js";
export { scalarFunction } from "./reference/scalar.js";
export { explainSchedule } from "./schedule/explain.js";
export * from "./schedule/ir.js";
export { scalarProgram } from "./schedule/scalars.js";
export { schedule } from "./schedule/schedule.js";
export { contiguousStrides, type Dims, sizeOf } from "./shape.js";
