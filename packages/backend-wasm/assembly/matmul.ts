export function matmulSimple(args: usize, chunk: i32, chunks: i32, scratch: usize): void {}
export function matmulPackB(args: usize, chunk: i32, chunks: i32, scratch: usize): void {}
export function matmulTiles(args: usize, chunk: i32, chunks: i32, scratch: usize): void {}
export function matmulThin(args: usize, chunk: i32, chunks: i32, scratch: usize): void {}
