// The kernels of composites and primitives beside matmul, ids from 64 up.
import * as ids from "./ids";

export function runKernel(kernel: i32, args: usize, chunk: i32, chunks: i32, scratch: usize): void {
  switch (kernel) {
    default:
      unreachable();
  }
}
