// A plain interpreter of fused loops: blocks of 512 elements, one pass per instruction.
import { readNumber, writeNumber } from "./numbers";
import { begin } from "./rows";
import { bf16ToF32, f16ToF32, f32ToBf16, f32ToF16 } from "./half";
import { divideI, erf64, erfinv64, pow64, remainder64, remainderI, sigmoid64, sign64, threefry1 } from "./scalar-math";

const BLOCK: i32 = 512;
const SLOT: usize = 4096; // bytes of a register: 512 f64

// Classes of registers.
const CF: i32 = 0; // f32
const CI: i32 = 1; // i32, and bool as 0 or 1
const CU: i32 = 2; // u32
const CD: i32 = 3; // f64

// args: 0 mode (0 map, 1 rows, 2 columns), 1 K1, 2 R, 3 K2, 4 rank, 5 dims*, 6 loads, 7 loads*, 8 instrs, 9 code*,
// 10 stores, 11 stores*, 12 reductions, 13 reductions*
// load: kind (0 value, 1 scalar, 2 iota), dtype, class, address, offset (elements), strides*
// instr: op, class, source class, dst, a, b, c
// store: register, class, dtype, address
// reduction: op (0 sum, 1 prod, 2 max, 3 min), register, class, dtype, address

// @ts-ignore: decorator
@inline
function word(at: usize, i: i32): i32 {
  return load<i32>(at + (<usize>i << 2));
}
// @ts-ignore: decorator
@inline
function slot(scratch: usize, r: i32): usize {
  return scratch + <usize>r * SLOT;
}

export function basicLoop(args: usize, chunk: i32, chunks: i32, scratch: usize): void {
  const mode = word(args, 0);
  const K1 = word(args, 1);
  const R = word(args, 2);
  const K2 = word(args, 3);
  const reductions = word(args, 12);
  const acc = slot(scratch, word(args, 14)); // accumulators behind the registers
  fillScalars(args, scratch);
  if (mode == 0) {
    const blocks = (K2 + BLOCK - 1) / BLOCK;
    const last = begin(blocks, chunk + 1, chunks);
    for (let b = begin(blocks, chunk, chunks); b < last; b++) {
      const from = b * BLOCK;
      runBlock(args, from, min(BLOCK, K2 - from), scratch);
    }
  } else if (mode == 1) {
    const last = begin(K1, chunk + 1, chunks);
    for (let k = begin(K1, chunk, chunks); k < last; k++) {
      for (let q = 0; q < reductions; q++) store<f64>(acc + (<usize>q << 3), startOf(<usize>word(args, 13) + <usize>(q * 20)));
      for (let r = 0; r < R; r += BLOCK) {
        const n = min(BLOCK, R - r);
        runBlock(args, k * R + r, n, scratch);
        for (let q = 0; q < reductions; q++) foldRow(args, q, n, scratch, acc + (<usize>q << 3));
      }
      for (let q = 0; q < reductions; q++) {
        const red = <usize>word(args, 13) + <usize>(q * 20);
        putResult(red, k, load<f64>(acc + (<usize>q << 3)));
      }
    }
  } else {
    const perRow = (K2 + BLOCK - 1) / BLOCK;
    const units = K1 * perRow;
    const last = begin(units, chunk + 1, chunks);
    for (let u = begin(units, chunk, chunks); u < last; u++) {
      const k1 = u / perRow;
      const from = (u % perRow) * BLOCK;
      const n = min(BLOCK, K2 - from);
      for (let q = 0; q < reductions; q++) {
        const start = startOf(<usize>word(args, 13) + <usize>(q * 20));
        for (let i = 0; i < n; i++) store<f64>(acc + <usize>q * SLOT + (<usize>i << 3), start);
      }
      for (let r = 0; r < R; r++) {
        runBlock(args, (k1 * R + r) * K2 + from, n, scratch);
        for (let q = 0; q < reductions; q++) foldColumn(args, q, n, scratch, acc + <usize>q * SLOT);
      }
      for (let q = 0; q < reductions; q++) {
        const red = <usize>word(args, 13) + <usize>(q * 20);
        for (let i = 0; i < n; i++) putResult(red, k1 * K2 + from + i, load<f64>(acc + <usize>q * SLOT + (<usize>i << 3)));
      }
    }
  }
}

/** What a reduction of nothing gives; integers have their own ends. */
function startOf(red: usize): f64 {
  const op = word(red, 0);
  if (op <= 1) return <f64>op;
  const low = op == 2;
  switch (word(red, 3)) {
    case 1: return low ? 0 : 255;
    case 2: return low ? -128 : 127;
    case 3: return low ? 0 : 4294967295;
    case 4: return low ? -2147483648 : 2147483647;
    default: return low ? -Infinity : Infinity;
  }
}

function putResult(red: usize, at: i32, value: f64): void {
  const dtype = word(red, 3);
  const size: i32 = dtype == 8 ? 8 : dtype == 5 || dtype == 6 ? 2 : dtype <= 2 ? 1 : 4;
  if (word(red, 2) == CI || word(red, 2) == CU) {
    const p = <usize>word(red, 4) + <usize>at * size;
    if (size == 4) store<i32>(p, wrapInt(value));
    else store<u8>(p, <u8>wrapInt(value));
  }
  else writeNumber(dtype, <usize>word(red, 4) + <usize>at * size, value);
}

function wrapInt(v: f64): i32 {
  if (v >= 4294967296.0 || v <= -4294967296.0) {
    if (v == Infinity) return i32.MAX_VALUE;
    if (v == -Infinity) return i32.MIN_VALUE;
    return <i32>(<i64>v);
  }
  if (v >= 2147483648.0) return <i32>(<i64>v);
  return <i32>(<i64>v);
}

// @ts-ignore: decorator
@inline
function combine(op: i32, cls: i32, a: f64, b: f64): f64 {
  if (op == 0) return a + b;
  if (op == 1) return cls == CI || cls == CU ? <f64>(<i32>(<i64>a) * <i32>(<i64>b)) : a * b;
  if (op == 2) return max(a, b);
  return min(a, b);
}

function foldRow(args: usize, q: i32, n: i32, scratch: usize, at: usize): void {
  const red = <usize>word(args, 13) + <usize>(q * 20);
  const op = word(red, 0);
  const r = slot(scratch, word(red, 1));
  const cls = word(red, 2);
  let a = load<f64>(at);
  if (cls == CF && op == 0) {
    let s0 = f64x2.splat(0);
    let s1 = s0;
    let i = 0;
    for (; i + 4 <= n; i += 4) {
      const v = v128.load(r + (<usize>i << 2));
      s0 = f64x2.add(s0, f64x2.promote_low_f32x4(v));
      s1 = f64x2.add(s1, f64x2.promote_low_f32x4(v128.shuffle<i32>(v, v, 2, 3, 0, 1)));
    }
    s0 = f64x2.add(s0, s1);
    a += f64x2.extract_lane(s0, 0) + f64x2.extract_lane(s0, 1);
    for (; i < n; i++) a += <f64>load<f32>(r + (<usize>i << 2));
  } else {
    for (let i = 0; i < n; i++) a = combine(op, cls, a, get(r, cls, i));
  }
  store<f64>(at, a);
}

function foldColumn(args: usize, q: i32, n: i32, scratch: usize, at: usize): void {
  const red = <usize>word(args, 13) + <usize>(q * 20);
  const op = word(red, 0);
  const r = slot(scratch, word(red, 1));
  const cls = word(red, 2);
  if (cls == CF && op == 0) {
    let i = 0;
    for (; i + 2 <= n; i += 2) {
      const p = at + (<usize>i << 3);
      v128.store(p, f64x2.add(v128.load(p), f64x2.promote_low_f32x4(v128.load64_zero(r + (<usize>i << 2)))));
    }
    for (; i < n; i++) {
      const p = at + (<usize>i << 3);
      store<f64>(p, load<f64>(p) + <f64>load<f32>(r + (<usize>i << 2)));
    }
    return;
  }
  for (let i = 0; i < n; i++) {
    const p = at + (<usize>i << 3);
    store<f64>(p, combine(op, cls, load<f64>(p), get(r, cls, i)));
  }
}

// @ts-ignore: decorator
@inline
function get(r: usize, cls: i32, i: i32): f64 {
  if (cls == CF) return <f64>load<f32>(r + (<usize>i << 2));
  if (cls == CI) return <f64>load<i32>(r + (<usize>i << 2));
  if (cls == CU) return <f64>load<u32>(r + (<usize>i << 2));
  return load<f64>(r + (<usize>i << 3));
}
// @ts-ignore: decorator
@inline
function put(r: usize, cls: i32, i: i32, v: f64): void {
  if (cls == CF) store<f32>(r + (<usize>i << 2), <f32>v);
  else if (cls == CD) store<f64>(r + (<usize>i << 3), v);
  else if (cls == CI) store<i32>(r + (<usize>i << 2), wrapInt(v));
  else store<u32>(r + (<usize>i << 2), <u32>wrapInt(v));
}

function sizeOf(dtype: i32): i32 {
  return dtype == 8 ? 8 : dtype == 5 || dtype == 6 ? 2 : dtype <= 2 ? 1 : 4;
}

function fillScalars(args: usize, scratch: usize): void {
  const n = word(args, 6);
  const loads = <usize>word(args, 7);
  for (let l = 0; l < n; l++) {
    const at = loads + <usize>(l * 24);
    if (word(at, 0) != 1) continue;
    const cls = word(at, 2);
    const r = slot(scratch, l);
    const p = <usize>word(at, 3);
    if (cls == CD) {
      const v = load<f64>(p);
      for (let i = 0; i < BLOCK; i++) store<f64>(r + (<usize>i << 3), v);
    } else {
      const v = load<i32>(p);
      for (let i = 0; i < BLOCK; i++) store<i32>(r + (<usize>i << 2), v);
    }
  }
}

function runBlock(args: usize, from: i32, n: i32, scratch: usize): void {
  const loads = word(args, 6);
  for (let l = 0; l < loads; l++) fill(args, <usize>word(args, 7) + <usize>(l * 24), from, n, slot(scratch, l));
  const count = word(args, 8);
  const code = <usize>word(args, 9);
  for (let k = 0; k < count; k++) {
    const at = code + <usize>(k * 28);
    step(
      word(at, 0),
      word(at, 1),
      word(at, 2),
      slot(scratch, word(at, 3)),
      slot(scratch, word(at, 4)),
      slot(scratch, word(at, 5)),
      slot(scratch, word(at, 6)),
      n,
    );
  }
  const stores = word(args, 10);
  for (let k = 0; k < stores; k++) {
    const at = <usize>word(args, 11) + <usize>(k * 16);
    const r = slot(scratch, word(at, 0));
    const cls = word(at, 1);
    const dtype = word(at, 2);
    const size = sizeOf(dtype);
    const p = <usize>word(at, 3) + <usize>from * size;
    if (size == 4) memory.copy(p, r, <usize>n << 2);
    else if (size == 8) memory.copy(p, r, <usize>n << 3);
    else if (size == 1) for (let i = 0; i < n; i++) store<u8>(p + i, <u8>load<i32>(r + (<usize>i << 2)));
    else for (let i = 0; i < n; i++) writeNumber(dtype, p + (<usize>i << 1), get(r, cls, i));
  }
}

/** Reads elements from..from+n of the space into a register. */
function fill(args: usize, at: usize, from: i32, n: i32, r: usize): void {
  const kind = word(at, 0);
  if (kind == 1) return;
  const dtype = word(at, 1);
  const cls = word(at, 2);
  const base = <usize>word(at, 3);
  const strides = <usize>word(at, 5);
  const rank = word(args, 4);
  const dims = <usize>word(args, 5);
  const size = sizeOf(dtype);
  let done = 0;
  while (done < n) {
    let rest = from + done;
    let offset = word(at, 4);
    let run = n - done;
    let inner = 0;
    for (let d = rank - 1; d >= 0; d--) {
      const len = word(dims, d);
      const i = rest % len;
      rest /= len;
      offset += i * word(strides, d);
      if (d == rank - 1) {
        run = min(run, len - i);
        inner = word(strides, d);
      }
    }
    if (kind == 2) {
      for (let i = 0; i < run; i++) put(r, cls, done + i, <f64>(offset + i * inner));
    } else if (size == 4) {
      const p = base + <usize>offset * 4;
      const to = r + (<usize>done << 2);
      if (inner == 1) memory.copy(to, p, <usize>run << 2);
      else for (let i = 0; i < run; i++) store<i32>(to + (<usize>i << 2), load<i32>(p + <usize>(i * inner) * 4));
    } else if (dtype == 8) {
      for (let i = 0; i < run; i++) store<f64>(r + (<usize>(done + i) << 3), load<f64>(base + <usize>(offset + i * inner) * 8));
    } else {
      for (let i = 0; i < run; i++) put(r, cls, done + i, readNumber(dtype, base + <usize>(offset + i * inner) * size));
    }
    done += run;
  }
}

function step(op: i32, cls: i32, src: i32, d: usize, a: usize, b: usize, c: usize, n: i32): void {
  const bytes = <usize>n << 2;
  if (cls == CF && src == CF && op < 8) {
    for (let i: usize = 0; i < bytes; i += 16) {
      const x = v128.load(a + i);
      let y: v128;
      switch (op) {
        case 0: y = f32x4.add(x, v128.load(b + i)); break;
        case 1: y = f32x4.sub(x, v128.load(b + i)); break;
        case 2: y = f32x4.mul(x, v128.load(b + i)); break;
        case 3: y = f32x4.div(x, v128.load(b + i)); break;
        case 4: y = f32x4.max(x, v128.load(b + i)); break;
        case 5: y = f32x4.min(x, v128.load(b + i)); break;
        case 6: y = f32x4.neg(x); break;
        default: y = f32x4.sqrt(x);
      }
      v128.store(d + i, y);
    }
    return;
  }
  if (op >= 70) {
    for (let i: usize = 0; i < bytes; i += 4) {
      const x = load<i32>(a + i);
      let z = 0;
      switch (op) {
        case 70: z = (x << 24) >> 24; break;
        case 71: z = x & 255; break;
        case 72: z = reinterpret<i32>(f16ToF32(f32ToF16(reinterpret<f32>(x)))); break;
        case 73: z = reinterpret<i32>(bf16ToF32(f32ToBf16(reinterpret<f32>(x)))); break;
        case 74: z = min(max(x, -128), 127); break;
        default: z = min(max(x, 0), 255);
      }
      store<i32>(d + i, z);
    }
    return;
  }
  if (op == 50) {
    // where: the condition is an i32
    if (cls == CD) for (let i = 0; i < n; i++) store<f64>(d + (<usize>i << 3), load<i32>(a + (<usize>i << 2)) != 0 ? load<f64>(b + (<usize>i << 3)) : load<f64>(c + (<usize>i << 3)));
    else for (let i: usize = 0; i < bytes; i += 4) store<i32>(d + i, load<i32>(a + i) != 0 ? load<i32>(b + i) : load<i32>(c + i));
    return;
  }
  const ints = (cls == CI || cls == CU) && (src == CI || src == CU);
  if (ints && (op < 51 || op > 56)) {
    const signed = cls == CI;
    for (let i: usize = 0; i < bytes; i += 4) {
      const x = load<i32>(a + i);
      const y = load<i32>(b + i);
      let z = 0;
      switch (op) {
        case 0: z = x + y; break;
        case 1: z = x - y; break;
        case 2: z = x * y; break;
        case 3: z = signed ? divideI(x, y) : y == 0 ? 0 : <i32>(<u32>x / <u32>y); break;
        case 4: z = signed ? max(x, y) : <i32>max<u32>(x, y); break;
        case 5: z = signed ? min(x, y) : <i32>min<u32>(x, y); break;
        case 6: z = -x; break;
        case 8: z = signed ? remainderI(x, y) : y == 0 ? 0 : <i32>(<u32>x % <u32>y); break;
        case 23: z = signed ? abs(x) : x; break;
        case 37: z = x == 0 ? 0 : signed && x < 0 ? -1 : 1; break;
        case 40: z = x & y; break;
        case 41: z = x | y; break;
        case 42: z = x ^ y; break;
        case 43: z = x << (y & 31); break;
        case 44: z = signed ? x >> (y & 31) : <i32>(<u32>x >>> (y & 31)); break;
        case 45: z = threefry1(x, y, load<i32>(c + i), load<i32>(c + SLOT + i)); break;
        case 46: z = ~x; break;
        case 47: z = 1 - x; break;
        case 60: z = x; break;
        case 61: z = x != 0 ? 1 : 0; break;
        default: unreachable();
      }
      store<i32>(d + i, z);
    }
    return;
  }
  if (op == 60 && (cls == CI || cls == CU)) {
    for (let i = 0; i < n; i++) {
      const x = get(a, src, i);
      store<i32>(d + (<usize>i << 2), cls == CI ? <i32>x : <i32>(<u32>x));
    }
    return;
  }
  for (let i = 0; i < n; i++) put(d, cls, i, calc(op, get(a, src, i), get(b, src, i)));
}

function calc(op: i32, x: f64, y: f64): f64 {
  switch (op) {
    case 0: return x + y;
    case 1: return x - y;
    case 2: return x * y;
    case 3: return x / y;
    case 4: return max(x, y);
    case 5: return min(x, y);
    case 6: return -x;
    case 7: return sqrt(x);
    case 8: return remainder64(x, y);
    case 9: return pow64(x, y);
    case 10: return NativeMath.atan2(x, y);
    case 11: return NativeMath.exp(x);
    case 12: return NativeMath.expm1(x);
    case 13: return NativeMath.log(x);
    case 14: return NativeMath.log1p(x);
    case 15: return sigmoid64(x);
    case 16: return NativeMath.sin(x);
    case 17: return NativeMath.cos(x);
    case 18: return NativeMath.tan(x);
    case 19: return NativeMath.asin(x);
    case 20: return NativeMath.acos(x);
    case 21: return NativeMath.atan(x);
    case 22: return NativeMath.sinh(x);
    case 23: return abs(x);
    case 24: return 1 / sqrt(x);
    case 25: return 1 / x;
    case 26: return NativeMath.cosh(x);
    case 27: return NativeMath.tanh(x);
    case 28: return erf64(x);
    case 29: return erfinv64(x);
    case 33: return floor(x);
    case 34: return ceil(x);
    case 35: return trunc(x);
    case 36: return nearest(x);
    case 37: return sign64(x);
    case 51: return x == y ? 1 : 0;
    case 52: return x != y ? 1 : 0;
    case 53: return x < y ? 1 : 0;
    case 54: return x <= y ? 1 : 0;
    case 55: return x > y ? 1 : 0;
    case 56: return x >= y ? 1 : 0;
    case 60: return x; // cast
    case 61: return x != 0 ? 1 : 0; // cast to bool
  }
  unreachable();
  return 0;
}
