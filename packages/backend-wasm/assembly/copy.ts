// Copies between strided places and fills: what concat, pad and slice updates are made of.
import { begin, copyBytes } from "./rows";

/**
 * Copies elements between two strided places.
 *
 * args: from, to, width (bytes of an element, or of a contiguous run), axes (at least 1), then for each axis its size and the
 * byte strides in `from` and in `to`. The last axis is the inner loop; the others are shared out.
 */
export function copyStrided(args: usize, chunk: i32, chunks: i32, scratch: usize): void {
  const width = load<i32>(args, 8);
  const axes = load<i32>(args, 12);
  let outer = 1;
  for (let d = 0; d < axes - 1; d++) outer *= load<i32>(args + <usize>d * 12, 16);
  const inner = args + <usize>(axes - 1) * 12;
  const size = load<i32>(inner, 16);
  const fromStep = load<i32>(inner, 20);
  const toStep = load<i32>(inner, 24);
  const end = begin(outer, chunk + 1, chunks);
  for (let row = begin(outer, chunk, chunks); row < end; row++) {
    let rest = row;
    let from = load<usize>(args);
    let to = load<usize>(args, 4);
    for (let d = axes - 2; d >= 0; d--) {
      const axis = args + <usize>d * 12;
      const n = load<i32>(axis, 16);
      const next = rest / n;
      const i = rest - next * n;
      rest = next;
      from += <usize>(i * load<i32>(axis, 20));
      to += <usize>(i * load<i32>(axis, 24));
    }
    copyRun(from, to, width, size, fromStep, toStep);
  }
}

function copyRun(from: usize, to: usize, width: i32, size: i32, fromStep: i32, toStep: i32): void {
  const a = <usize>fromStep;
  const b = <usize>toStep;
  if (fromStep == width && toStep == width) {
    copyBytes(to, from, <usize>size * <usize>width);
  } else if (width == 4) {
    for (let i = 0; i < size; i++, from += a, to += b) store<u32>(to, load<u32>(from));
  } else if (width == 2) {
    for (let i = 0; i < size; i++, from += a, to += b) store<u16>(to, load<u16>(from));
  } else if (width == 1) {
    for (let i = 0; i < size; i++, from += a, to += b) store<u8>(to, load<u8>(from));
  } else if (width == 8) {
    for (let i = 0; i < size; i++, from += a, to += b) store<u64>(to, load<u64>(from));
  } else {
    for (let i = 0; i < size; i++, from += a, to += b) copyBytes(to, from, <usize>width);
  }
}

/** Zeros. args: to, bytes. */
export function fillZero(args: usize, chunk: i32, chunks: i32, scratch: usize): void {
  const bytes = <i64>load<u32>(args, 4);
  const first = <usize>((bytes * chunk) / chunks);
  const end = <usize>((bytes * (chunk + 1)) / chunks);
  memory.fill(load<usize>(args) + first, 0, end - first);
}
