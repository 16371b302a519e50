// Rotary position embedding: each pair (a, b) of a head turns by θ = position · inverse frequency. Sines and cosines are
// made once per position, in f64, and used for all heads.
import { begin, F32, fromF32, toF32, widthOf } from "./rows";
import { nmadd, madd } from "./simd";

/**
 * args: x, positions, inverse frequencies (f32), y, batch, length, heads, half of the width, byte strides of x (batch,
 * position, head), strides of positions (batch, position) in elements, stride of the frequencies, interleaved, inverse,
 * dtype. y is contiguous. Scratch: 4 · width f32.
 */
export function rope(args: usize, chunk: i32, chunks: i32, scratch: usize): void {
  const batch = load<i32>(args, 16);
  const length = load<i32>(args, 20);
  const heads = load<i32>(args, 24);
  const half = load<i32>(args, 28);
  const perBatch = load<i32>(args, 44);
  const perPosition = load<i32>(args, 48);
  const interleaved = load<i32>(args, 56) != 0;
  const dtype = load<i32>(args, 64);
  const width = 2 * half;
  const bytes = <usize>width * <usize>widthOf(dtype);
  const cosines = scratch;
  const sines = scratch + (<usize>half << 2);
  const row = sines + (<usize>half << 2);
  const end = begin(length, chunk + 1, chunks);
  for (let t = begin(length, chunk, chunks); t < end; t++) {
    for (let b = 0; b < batch; b++) {
      if (b == 0 || perBatch != 0) {
        const position = load<i32>(load<usize>(args, 4) + (<usize>(b * perBatch + t * perPosition) << 2));
        writeAngles(args, position, half, cosines, sines);
      }
      let x = load<usize>(args) + <usize>(b * load<i32>(args, 32) + t * load<i32>(args, 36));
      let y = load<usize>(args, 12) + <usize>((b * length + t) * heads) * bytes;
      for (let h = 0; h < heads; h++, y += bytes) {
        let from = x;
        let to = y;
        if (dtype != F32) {
          toF32(dtype, x, width, row);
          from = row;
          to = row;
        }
        if (interleaved) turnNeighbours(from, to, half, cosines, sines);
        else turnHalves(from, to, half, cosines, sines);
        if (dtype != F32) fromF32(dtype, row, width, y);
        x += <usize>load<i32>(args, 40);
      }
    }
  }
}

function writeAngles(args: usize, position: i32, half: i32, cosines: usize, sines: usize): void {
  const frequencies = load<usize>(args, 8);
  const step = <usize>load<i32>(args, 52) << 2;
  const sign: f64 = load<i32>(args, 60) != 0 ? -1 : 1;
  for (let i = 0; i < half; i++) {
    const angle = <f64>position * <f64>load<f32>(frequencies + <usize>i * step);
    // θ = n π/2 + r with |r| <= π/4, π/2 in two parts of which the first times n is exact
    const n = nearest(angle * 0.63661977236758134);
    const r = angle - n * 1.5707963267341256 - n * 6.0771005065061922e-11;
    const z = r * r;
    const s =
      r + r * z * (-1.6666666666666632e-1 + z * (8.3333333333224895e-3 + z * (-1.9841269829857949e-4 +
      z * (2.7557313707070068e-6 + z * -2.5050760253406863e-8))));
    const c =
      1 + z * (-0.5 + z * (4.1666666666666602e-2 + z * (-1.3888888888874110e-3 + z * (2.4801587289476729e-5 +
      z * -2.7557314351390663e-7))));
    const quarter = <i64>n & 3;
    const sine = (quarter & 1) != 0 ? c : s;
    const cosine = (quarter & 1) != 0 ? s : c;
    store<f32>(sines + (<usize>i << 2), <f32>(sign * ((quarter & 2) != 0 ? -sine : sine)));
    store<f32>(cosines + (<usize>i << 2), <f32>(quarter == 1 || quarter == 2 ? -cosine : cosine));
  }
}

/** Pairs (i, i + half). */
function turnHalves(x: usize, y: usize, half: i32, cosines: usize, sines: usize): void {
  const apart = <usize>half << 2;
  const end = x + apart;
  for (; x + 16 <= end; x += 16, y += 16, cosines += 16, sines += 16) {
    const a = v128.load(x);
    const b = v128.load(x + apart);
    const c = v128.load(cosines);
    const s = v128.load(sines);
    v128.store(y, nmadd(b, s, f32x4.mul(a, c)));
    v128.store(y + apart, madd(a, s, f32x4.mul(b, c)));
  }
  for (; x < end; x += 4, y += 4, cosines += 4, sines += 4) {
    const a = load<f32>(x);
    const b = load<f32>(x + apart);
    const c = load<f32>(cosines);
    const s = load<f32>(sines);
    store<f32>(y, a * c - b * s);
    store<f32>(y + apart, b * c + a * s);
  }
}

/** Pairs (2i, 2i + 1). */
function turnNeighbours(x: usize, y: usize, half: i32, cosines: usize, sines: usize): void {
  for (let i = 0; i < half; i++, x += 8, y += 8, cosines += 4, sines += 4) {
    const a = load<f32>(x);
    const b = load<f32>(x, 4);
    const c = load<f32>(cosines);
    const s = load<f32>(sines);
    store<f32>(y, a * c - b * s);
    store<f32>(y, b * c + a * s, 4);
  }
}
