// The loops, ids 32 to 63.
import { basicLoop } from "./basic-loop";
import * as ids from "./ids";

export function runLoop(kernel: i32, args: usize, chunk: i32, chunks: i32, scratch: usize): void {
  switch (kernel) {
    case 33:
      return basicLoop(args, chunk, chunks, scratch);
    default:
      unreachable();
  }
}
