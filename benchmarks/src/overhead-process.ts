/** Trains with every kernel timed and prints the time of each step as JSON: `overhead-process.ts LOOP STEPS THREADS`. */
import { wasm } from "@lowrank/backend-wasm";
import { setDefaultBackend } from "@lowrank/tensor";
import { LOOPS, type LoopName } from "./memory-loops.js";
import type { PlanMemory, StepTimes } from "./overhead.js";

const [row, steps, threads] = [process.argv[2] as LoopName, Number(process.argv[3]), Number(process.argv[4])];
const backend = await wasm({ threads, profile: true });

// The memory of the largest plan, as its own text says it.
let plan: PlanMemory = { arena_bytes: 0, alive_bytes: 0, with_workspace_bytes: 0 };
const prepare = backend.prepare.bind(backend);
backend.prepare = (graph) => {
  const executable = prepare(graph);
  const [, arena, alive] = /arena (\d+) bytes, alive at once (\d+)$/.exec(executable.explain())!;
  const memory = {
    arena_bytes: Number(arena),
    alive_bytes: Number(alive),
    with_workspace_bytes: executable.peakBytes,
  };
  if (memory.with_workspace_bytes > plan.with_workspace_bytes) plan = memory;
  return executable;
};
setDefaultBackend(backend);

const times: StepTimes[] = [];
await LOOPS[row].run(steps, (step, _loss, ms) => {
  const ended = performance.now();
  // Spans of other work, such as loading the model, lie before the step.
  const spans = backend.timeline().spans.filter((span) => span.beganMs >= ended - ms);
  if (step === 1) backend.resetPeak();
  const of = (name: string): number =>
    spans.reduce((sum, span) => sum + (span.kind === "host" && span.name === name ? span.ms : 0), 0);
  const first = spans.find((span) => span.name === "trace");
  times.push({
    step_ms: ms,
    kernels_ms: spans.reduce((sum, span) => sum + (span.kind === "group" ? span.ms : 0), 0),
    build_ms: first ? first.beganMs - (ended - ms) : 0,
    trace_ms: of("trace"),
    find_ms: of("find plan"),
    schedule_ms: of("schedule"),
    encode_ms: of("encode"),
    bind_ms: of("bind"),
    keep_ms: of("keep results"),
    groups: spans.filter((span) => span.kind === "group").length,
  });
});
const { ownedBytes, arenaBytes, peakBytes } = backend.memory();
console.log(
  JSON.stringify({
    times,
    plan,
    owned_bytes: ownedBytes,
    held_arena_bytes: arenaBytes,
    peak_bytes: peakBytes,
  }),
);
process.exit(0);
