// Patches of an image as columns, and their transpose.
import { addNarrow, writeNarrow } from "./numbers";
import { begin, copyBytes, F32, F64, widthOf } from "./rows";

// Argument words that both share: x or columns, result, images (N · C), height, width, kernel height and width, strides,
// padding before (height, width), dilations, windows (height, width), dtype, then the bits of the fill.
const IMAGES: usize = 8;
const HEIGHT: usize = 12;
const WIDTH: usize = 16;
const KERNEL_H: usize = 20;
const KERNEL_W: usize = 24;
const STRIDE_H: usize = 28;
const STRIDE_W: usize = 32;
const PAD_H: usize = 36;
const PAD_W: usize = 40;
const DILATION_H: usize = 44;
const DILATION_W: usize = 48;
const OUT_H: usize = 52;
const OUT_W: usize = 56;
const DTYPE: usize = 60;
const FILL: usize = 64;

/** First window of an axis whose place falls at 0 or beyond, for place(o) = o · stride + shift. */
// @ts-ignore: decorator
@inline
function firstInside(shift: i32, stride: i32, most: i32): i32 {
  return shift >= 0 ? 0 : min(most, (-shift + stride - 1) / stride);
}

/** First window whose place falls at n or beyond. */
// @ts-ignore: decorator
@inline
function firstBeyond(n: i32, shift: i32, stride: i32, most: i32): i32 {
  return n <= shift ? 0 : min(most, (n - shift + stride - 1) / stride);
}

function fill(to: usize, count: i32, width: i32, bits: u32): void {
  if (count <= 0) return;
  if (bits == 0) {
    memory.fill(to, 0, <usize>count * <usize>width);
  } else if (width == 4) {
    for (let i = 0; i < count; i++, to += 4) store<u32>(to, bits);
  } else if (width == 2) {
    for (let i = 0; i < count; i++, to += 2) store<u16>(to, <u16>bits);
  } else {
    for (let i = 0; i < count; i++, to += 8) store<u64>(to, <u64>bits << 32);
  }
}

/** A unit of work is one place of the kernel in one image: a row of windows. Fill: upper 32 bits of an f64. */
export function im2col(args: usize, chunk: i32, chunks: i32, scratch: usize): void {
  const kh = load<i32>(args + KERNEL_H);
  const kw = load<i32>(args + KERNEL_W);
  const units = load<i32>(args + IMAGES) * kh * kw;
  const height = load<i32>(args + HEIGHT);
  const width = load<i32>(args + WIDTH);
  const strideH = load<i32>(args + STRIDE_H);
  const strideW = load<i32>(args + STRIDE_W);
  const oh = load<i32>(args + OUT_H);
  const ow = load<i32>(args + OUT_W);
  const bytes = widthOf(load<i32>(args + DTYPE));
  const bits = load<u32>(args + FILL);
  const end = begin(units, chunk + 1, chunks);
  for (let unit = begin(units, chunk, chunks); unit < end; unit++) {
    const image = unit / (kh * kw);
    const tap = unit - image * kh * kw;
    const ky = tap / kw;
    const shiftY = ky * load<i32>(args + DILATION_H) - load<i32>(args + PAD_H);
    const shiftX = (tap - ky * kw) * load<i32>(args + DILATION_W) - load<i32>(args + PAD_W);
    const low = firstInside(shiftX, strideW, ow);
    const high = max(low, firstBeyond(width, shiftX, strideW, ow));
    let to = load<usize>(args, 4) + <usize>(unit * oh * ow) * <usize>bytes;
    for (let oy = 0; oy < oh; oy++) {
      const y = oy * strideH + shiftY;
      if (<u32>y >= <u32>height) {
        fill(to, ow, bytes, bits);
        to += <usize>(ow * bytes);
        continue;
      }
      fill(to, low, bytes, bits);
      to += <usize>(low * bytes);
      let from = load<usize>(args) + <usize>((image * height + y) * width + low * strideW + shiftX) * <usize>bytes;
      const count = high - low;
      if (strideW == 1) copyBytes(to, from, <usize>(count * bytes));
      else copyEvery(to, from, count, bytes, strideW * bytes);
      to += <usize>(count * bytes);
      fill(to, ow - high, bytes, bits);
      to += <usize>((ow - high) * bytes);
    }
  }
}

function copyEvery(to: usize, from: usize, count: i32, bytes: i32, step: i32): void {
  const s = <usize>step;
  if (bytes == 4) for (let i = 0; i < count; i++, to += 4, from += s) store<u32>(to, load<u32>(from));
  else if (bytes == 2) for (let i = 0; i < count; i++, to += 2, from += s) store<u16>(to, load<u16>(from));
  else if (bytes == 1) for (let i = 0; i < count; i++, to += 1, from += s) store<u8>(to, load<u8>(from));
  else for (let i = 0; i < count; i++, to += 8, from += s) store<u64>(to, load<u64>(from));
}

/** A unit of work is one image; taps are added in order. Scratch: an image of f32 for dtypes that are summed there. */
export function col2im(args: usize, chunk: i32, chunks: i32, scratch: usize): void {
  const images = load<i32>(args + IMAGES);
  const pixels = load<i32>(args + HEIGHT) * load<i32>(args + WIDTH);
  const dtype = load<i32>(args + DTYPE);
  const bytes = <usize>widthOf(dtype);
  const direct = dtype == F32 || dtype == F64 || dtype == 3 || dtype == 4;
  const end = begin(images, chunk + 1, chunks);
  for (let image = begin(images, chunk, chunks); image < end; image++) {
    let y = load<usize>(args, 4) + <usize>(image * pixels) * bytes;
    const sums = direct ? y : scratch;
    memory.fill(sums, 0, <usize>pixels * (direct ? bytes : 4));
    addTaps(args, image, sums, dtype);
    if (direct) continue;
    for (let i = 0; i < pixels; i++, y += bytes) writeNarrow(dtype, y, scratch + (<usize>i << 2));
  }
}

function addTaps(args: usize, image: i32, sums: usize, dtype: i32): void {
  const kh = load<i32>(args + KERNEL_H);
  const kw = load<i32>(args + KERNEL_W);
  const height = load<i32>(args + HEIGHT);
  const width = load<i32>(args + WIDTH);
  const strideH = load<i32>(args + STRIDE_H);
  const strideW = load<i32>(args + STRIDE_W);
  const oh = load<i32>(args + OUT_H);
  const ow = load<i32>(args + OUT_W);
  const bytes = <usize>widthOf(dtype);
  for (let tap = 0; tap < kh * kw; tap++) {
    const ky = tap / kw;
    const shiftY = ky * load<i32>(args + DILATION_H) - load<i32>(args + PAD_H);
    const shiftX = (tap - ky * kw) * load<i32>(args + DILATION_W) - load<i32>(args + PAD_W);
    const low = firstInside(shiftX, strideW, ow);
    const high = max(low, firstBeyond(width, shiftX, strideW, ow));
    const columns = load<usize>(args) + <usize>((image * kh * kw + tap) * oh * ow) * bytes;
    for (let oy = 0; oy < oh; oy++) {
      const y = oy * strideH + shiftY;
      if (<u32>y >= <u32>height) continue;
      const from = columns + <usize>(oy * ow + low) * bytes;
      addEvery(from, sums, y * width + low * strideW + shiftX, high - low, strideW, dtype, bytes);
    }
  }
}

/** sums[place + i · step] += column i */
function addEvery(from: usize, sums: usize, place: i32, count: i32, step: i32, dtype: i32, bytes: usize): void {
  if (dtype == F64) {
    let to = sums + (<usize>place << 3);
    for (let i = 0; i < count; i++, from += 8, to += <usize>step << 3) store<f64>(to, load<f64>(to) + load<f64>(from));
    return;
  }
  let to = sums + (<usize>place << 2);
  const stride = <usize>step << 2;
  if (dtype == F32) {
    let i = 0;
    if (step == 1) {
      for (; i + 4 <= count; i += 4, from += 16, to += 16) v128.store(to, f32x4.add(v128.load(to), v128.load(from)));
    }
    for (; i < count; i++, from += 4, to += stride) store<f32>(to, load<f32>(to) + load<f32>(from));
  } else if (dtype == 3 || dtype == 4) {
    for (let i = 0; i < count; i++, from += 4, to += stride) store<i32>(to, load<i32>(to) + load<i32>(from));
  } else {
    for (let i = 0; i < count; i++, from += bytes, to += stride) {
      addNarrow(dtype, to, from);
    }
  }
}
