/** The kit with which a backend, or an op, is tested against the reference backend. */
export { entry, type OpEntry } from "./testing/cases-elementwise.js";
export { checkGradient, checkOp, drawCase, type GradientOptions, opCases } from "./testing/check-op.js";
export { difference, type Result, type Tolerance } from "./testing/compare.js";
export {
  type CaseInput,
  Drawer,
  type InputOptions,
  type OpCase,
  tensorOf,
  type View,
} from "./testing/drawer.js";
export { groupInterpreter, type InterpreterOptions } from "./testing/group-interpreter.js";
export { Rng } from "./testing/rng.js";
export { runOn, type Wanted } from "./testing/run.js";
export { reference, type ReferenceOptions } from "./reference/backend.js";
export { checkGraph } from "./testing/fuzz/check-graph.js";
export { type GraphOptions, randomGraph } from "./testing/fuzz/random-graph.js";
export {
  buildGraph,
  describeProgram,
  type Program,
  type ProgramRoot,
  type Step,
} from "./testing/fuzz/program.js";
