// The loops, ids 32 to 63.
import { runFusedLoop } from "./loop";
import { LOOP_COMBINE, LOOP_RUN } from "./loop-ops";
import { combine } from "./loop-reduce";

export function runLoop(kernel: i32, args: usize, chunk: i32, chunks: i32, scratch: usize): void {
  switch (kernel) {
    case LOOP_RUN:
      return runFusedLoop(args, chunk, chunks, scratch);
    case LOOP_COMBINE:
      return combine(args, scratch);
    default:
      unreachable();
  }
}
